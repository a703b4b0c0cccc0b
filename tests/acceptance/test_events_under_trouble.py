"""Events of a running stack whose stream is in trouble: each is stored once, and no command notices."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from chaos.proxy import Cut
from chaos.redelivery import Redelivery, is_settled
from fixtures.installations import PATIENCE, Installation, awaited, make_installation
from fixtures.links import LinkedValkey, make_linked_valkey
from fixtures.loads import load_on, wait_succeeded

from telemetry.connections import open_redis

STREAM = "weir:telemetry"

#: Seconds for which the stream is cut off; set CUT_SECONDS=60 for the real thing.
CUT_SECONDS = float(os.environ.get("CUT_SECONDS", "3"))
#: Submissions that are accepted before something happens, and meanwhile.
SOME = 20
#: Seconds until what was accepted while all of Redis was gone has begun, once it is back.
BEGUN_WITHIN = 2.0

#: A thousand steps: it runs while Redis goes.
LONG = f"""
slug: long
steps:
  - id: each
    type: list.map
    with:
      items: [{", ".join(["milk"] * 1000)}]
      as: item
      do: [{{id: say, type: transform, with: {{template: "{{{{ item | upcase }}}}"}}}}]
"""


@pytest.fixture
def valkey() -> Iterator[LinkedValkey]:
    with make_linked_valkey() as valkey:
        yield valkey


@pytest.fixture
def apart(valkey: LinkedValkey) -> Iterator[Installation]:
    """A running stack whose telemetry has a Valkey of its own, behind a link."""
    with make_installation(WEIR_TELEMETRY_REDIS_URL=valkey.url) as installation:
        installation.up()
        yield installation


def wait_settled(valkey: LinkedValkey) -> None:
    """Until everything in the stream was delivered and acknowledged."""
    with open_redis(valkey.direct_url) as redis:
        awaited(lambda: is_settled(redis, STREAM))


@pytest.mark.timeout(300)
@pytest.mark.req("C-13", "S-02")
def test_two_sinks_and_a_fifth_of_all_entries_twice_leave_every_event_stored_once(
    apart: Installation, valkey: LinkedValkey
) -> None:
    with apart.start_weir("serve", "sink") as second:
        try:
            with open_redis(valkey.direct_url) as redis:
                awaited(lambda: len(redis.xinfo_consumers(STREAM, "sink")) == 2)
            with Redelivery(valkey.direct_url, STREAM, share=0.2, seed=5) as redelivery, load_on(apart) as load:
                load.wait_for(5 * SOME)
                awaited(lambda: redelivery.again >= SOME and redelivery.set_back)
            wait_succeeded(apart, load.accepted)
            apart.wait_stored(load.accepted)
            wait_settled(valkey)
        finally:
            second.send_signal(signal.SIGTERM)
            second.communicate()

    assert load.refused == 0
    stored = apart.stored_events(load.accepted)
    assert stored == apart.ledger_events(load.accepted)
    assert len(stored) == len(set(stored)) == 9 * len(load.accepted)


@pytest.mark.timeout(300 + 4 * CUT_SECONDS)
@pytest.mark.parametrize("cut", ["hang", "refuse"])
@pytest.mark.req("C-13", "S-02")
def test_with_the_stream_cut_off_commands_run_on_and_their_events_are_stored_once_afterwards(
    apart: Installation, valkey: LinkedValkey, cut: Cut
) -> None:
    with load_on(apart) as load:
        load.wait_for(SOME)
        with valkey.cut(cut):
            until = time.monotonic() + CUT_SECONDS
            load.wait_for(SOME)
            awaited(lambda: time.monotonic() >= until, within=CUT_SECONDS + 1)
            wait_succeeded(apart, list(load.accepted))
        load.wait_for(SOME)

    assert load.refused == 0
    wait_succeeded(apart, load.accepted)
    awaited(lambda: not apart.missing_events(load.accepted), within=PATIENCE + CUT_SECONDS)
    wait_settled(valkey)
    assert apart.stored_events(load.accepted) == apart.ledger_events(load.accepted)


@pytest.mark.timeout(300)
@pytest.mark.req("D-01", "C-13", "S-02")
def test_with_all_of_redis_gone_what_runs_ends_and_what_is_submitted_is_accepted_and_begun(
    valkey: LinkedValkey,
) -> None:
    with make_installation(WEIR_REDIS_URL=valkey.url) as installation:
        installation.commands.joinpath("long.yaml").write_text(LONG)
        installation.up()
        running = [installation.submit("long") for _ in range(2)]
        awaited(lambda: installation.rows("select from command_executions where state = 'running'"))
        with valkey.cut("refuse"):
            accepted = [installation.submit("todo.add", {"body": "while Redis is gone"}) for _ in range(SOME)]
            wait_succeeded(installation, running)
        (back_at,) = installation.rows("select clock_timestamp()")[0]
        wait_succeeded(installation, accepted)
        begun = installation.rows(
            "select max(started_at) from command_executions where id = any(%(ids)s)", ids=accepted
        )
        installation.wait_stored([*running, *accepted])
        wait_settled(valkey)

        assert (begun[0][0] - back_at).total_seconds() <= BEGUN_WITHIN
        assert installation.stored_events([*running, *accepted]) == installation.ledger_events([*running, *accepted])
