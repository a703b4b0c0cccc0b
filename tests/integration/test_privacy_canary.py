"""Nothing that anybody writes gets into telemetry, the queue or a log: proved by planting secrets everywhere.

A failure says where the secret was planted, in which form it was found, and the seed that makes it again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixtures.canaries import PLACES, STREAM, Secrets, keys_of_valkey, wait_drained
from fixtures.folders import make_open_folder
from fixtures.installations import Installation, awaited, make_installation
from fixtures.planted_tables import WEIR_TOML
from fixtures.planting import Planting, Refusal
from fixtures.stacks import ROOT
from fixtures.step_packages import install_example, install_module

from dsl.testing import TASKS_SQL

#: Secrets that one run plants, at the very least.
LEAST_SECRETS = 500


#: The text of a step type that gives away whatever it can.
LEAKY = ROOT / "tests" / "fixtures" / "leaky_step.py"


#: What holds the faulty command files, and their names.
OF_FAULTY_FILES = ("faulty file", "command files: name of a file")


@dataclass(frozen=True)
class Planted:
    """A running stack in which secrets were planted.

    Attributes:
        installation: The stack; all its events are stored.
        secrets: What was planted.
        on_the_way: What Valkey held while the sink stood still: every event, and the last messages.
        refusals: Answers that were errors.
    """

    installation: Installation
    secrets: Secrets
    on_the_way: bytes
    refusals: Sequence[Refusal]


@pytest.fixture(scope="module")
def planted() -> Iterator[Planted]:
    """A stack that logs everything it can and finds everything slow, after secrets were planted through every door."""
    with make_open_folder() as site, leaky_installation(site) as installation:
        secrets = Secrets(random.getrandbits(32))
        with installation.paused("sink"):
            planting = Planting(installation, secrets)
            planting.everything()
            for execution in planting.executions:
                installation.ended(execution)
            on_the_way = awaited(lambda: _events_on_the_way(installation))
        wait_drained(installation)
        installation.wait_stored([row[0] for row in installation.rows("select id from command_executions")])
        yield Planted(installation, secrets, on_the_way, planting.refusals)


@contextmanager
def leaky_installation(site: Path) -> Iterator[Installation]:
    """A running stack with a table of its user's, and step types of which one gives away whatever it can."""
    install_example(site)
    install_module(site, "acme_leaky", {"acme.leaky": "acme_leaky:Leaky"}, LEAKY.read_text(encoding="utf-8"))
    path = os.pathsep.join((str(ROOT), str(site)))
    settings = {"WEIR_LOG_LEVEL": "debug", "WEIR_WORKER_SLOW_COMMAND_THRESHOLD": "0s", "PYTHONPATH": path}
    with make_installation(**settings) as installation:
        (installation.folder / "weir.toml").write_text(WEIR_TOML, encoding="utf-8")
        installation.up()
        with installation.database() as connection:
            connection.execute(TASKS_SQL)
        yield installation


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
def test_an_error_answer_quotes_nothing_but_its_own_request(planted: Planted) -> None:
    assert len(planted.refusals) > 40
    for refusal in planted.refusals:
        said = refusal.answer.body + str(refusal.answer.headers).encode()
        others = [found for number, found in planted.secrets.numbers_in(said) if number not in refusal.own]
        # The faults of a command file, and which it is, are told to whoever asks for the command.
        assert [found for found in others if not found.startswith(OF_FAULTY_FILES)] == [], refusal.where
        assert b"Traceback" not in said


@pytest.mark.req("C-09", "C-06", "C-14")
def test_what_was_slow_and_what_did_not_validate_was_told_all_the_same(planted: Planted) -> None:
    [(slow, refused, steps)] = planted.installation.rows(
        "select count(*) filter (where measures ? 'slow'), "
        "count(*) filter (where event_type = 'command.validation.failed' and measures ? 'failed_fields'), "
        "count(*) filter (where event_type = 'dsl.step.failed' and measures ? 'failed_fields') from telemetry_events"
    )
    assert slow > 50
    assert refused >= 7
    assert steps >= 4


@pytest.mark.req("C-14")
def test_what_was_written_is_with_its_owner(planted: Planted) -> None:
    """The other half: the secrets did get in, and those who own them find them."""
    stored = planted.installation.rows(
        "select string_agg(t::text, ' ') from (select f::text from fragments f "
        "union all select e::text from command_executions e union all select s::text from command_steps s "
        "union all select n::text from notifications n union all select r::text from app.tasks r "
        "union all select c::text from command_definitions c) as t"
    )

    kept = {found.partition(" (plain")[0] for found in planted.secrets.found_in(stored[0][0].encode())}
    for where in (
        *("run: body", "run: user", "dry run: text", "command file: title", "POST /api/fragments/import: content"),
        *("note: body", "row of a table: what nobody may see", "command file: content of another"),
        *("command file: name of somebody", "weir run todo.add: body"),
    ):
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
