"""Nothing that anybody writes gets into telemetry, the queue or a log: proved by planting secrets everywhere.

A failure says where the secret was planted, in which form it was found, and the seed that makes it again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fixtures.canaries import PLACES, STREAM, Secrets, keys_of_valkey, wait_drained
from fixtures.installations import Installation, awaited, make_installation
from fixtures.planting import Planting

#: Secrets that one run plants, at the very least.
LEAST_SECRETS = 40


@dataclass(frozen=True)
class Planted:
    """A running stack in which secrets were planted.

    Attributes:
        installation: The stack; all its events are stored.
        secrets: What was planted.
        on_the_way: What Valkey held while the sink stood still: every event, and the last messages.
    """

    installation: Installation
    secrets: Secrets
    on_the_way: bytes


@pytest.fixture(scope="module")
def planted() -> Iterator[Planted]:
    """A stack that logs everything it can, after secrets were planted in it through every door."""
    with make_installation(WEIR_LOG_LEVEL="debug") as installation:
        installation.up()
        secrets = Secrets(random.getrandbits(32))
        with installation.paused("sink"):
            planting = Planting(installation, secrets)
            planting.everything()
            for execution in planting.executions:
                installation.ended(execution)
            on_the_way = awaited(lambda: _events_on_the_way(installation))
        wait_drained(installation)
        installation.wait_stored([row[0] for row in installation.rows("select id from command_executions")])
        yield Planted(installation, secrets, on_the_way)


def _events_on_the_way(installation: Installation) -> bytes:
    """What Valkey holds, once the last event of every execution is in the stream."""
    content = keys_of_valkey(installation)
    finished = installation.rows("select finished_event_id from command_executions")
    return content if all(event_id.bytes in content for (event_id,) in finished) else b""


@pytest.mark.req("C-14")
@pytest.mark.parametrize("place", PLACES)
def test_nothing_that_was_written_anywhere_is_in(place: str, planted: Planted) -> None:
    found = PLACES[place](planted.installation)

    assert len(planted.secrets) >= LEAST_SECRETS
    assert found
    assert planted.secrets.found_in(found) == []


@pytest.mark.req("C-14")
def test_nothing_that_was_written_anywhere_is_in_events_on_the_way(planted: Planted) -> None:
    assert b"command.execution.failed" in planted.on_the_way
    assert b"command.validation.failed" in planted.on_the_way
    assert b"http.request.completed" in planted.on_the_way
    assert planted.secrets.found_in(planted.on_the_way) == []


@pytest.mark.req("C-14")
def test_what_was_written_is_with_its_owner(planted: Planted) -> None:
    """The other half: the secrets did get in, and those who own them find them."""
    stored = planted.installation.rows(
        "select string_agg(t::text, ' ') from (select f::text from fragments f "
        "union all select e::text from command_executions e union all select s::text from command_steps s "
        "union all select n::text from notifications n) as t"
    )

    kept = {found.partition(" (plain")[0] for found in planted.secrets.found_in(stored[0][0].encode())}
    for where in ("run: body", "run: user", "dry run: text", "command file: title", "import: content", "note: body"):
        assert where in kept
    assert {where for where in kept if where.startswith("failing input")} >= {"failing input, rule: refused"}


@pytest.mark.req("C-14")
def test_what_is_no_http_is_not_quoted_in_a_log(planted: Planted) -> None:
    secrets = Secrets(random.getrandbits(32))

    Planting(planted.installation, secrets).malformed_requests()

    for place in PLACES:
        assert secrets.found_in(PLACES[place](planted.installation)) == []


@pytest.mark.req("C-14")
def test_the_canary_dies_when_something_leaks(planted: Planted) -> None:
    """What the tests above look for is found where it is: planted here by hand, once in each place."""
    installation = planted.installation
    secrets = Secrets(random.getrandbits(32))
    leak = secrets.new("a leak")

    def leaks_in(place: str) -> bool:
        return bool(secrets.found_in(PLACES[place](installation)))

    assert [place for place in PLACES if leaks_in(place)] == []
    with installation.database() as connection:
        connection.execute(
            "update telemetry_events set step_path = %s where event_id = "
            "(select event_id from telemetry_events order by event_id limit 1)",
            [leak],
        )
        connection.execute(f"do $$ begin raise log '{leak}'; end $$")
    with installation.paused("sink"), installation.redis() as redis:
        redis.xadd(STREAM, {"b": leak})
        for place in PLACES:
            awaited(lambda leaking=place: leaks_in(leaking))  # type: ignore[misc]
