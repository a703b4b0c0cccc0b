"""What `kill -9` does to a running stack: no accepted execution is lost, and no stored event is lost or doubled."""

from __future__ import annotations

import time

import pytest
from fixtures.installations import Installation, awaited
from fixtures.loads import load_on, wait_succeeded

#: Key of the queue that wakes the worker, and prefix of all keys of the queue.
QUEUE, QUEUE_KEYS = "weir:queue:lane.default", "weir:queue:*"

#: Submissions before and after something is killed.
BEFORE, AFTER = 20, 20


@pytest.mark.req("D-01")
def test_an_idle_worker_that_is_killed_comes_back_and_runs_the_next_command(installation: Installation) -> None:
    restarts = {process.name: process.restarts for process in installation.status.processes}["worker"]

    killed = installation.kill("worker")
    execution = installation.run("todo.add", {"body": "after the worker died"})

    assert execution["state"] == "succeeded"
    assert installation.pid_of("worker") not in {killed, None}
    assert {process.name: process.restarts for process in installation.status.processes}["worker"] == restarts + 1


@pytest.mark.req("D-01", "C-13", "S-02")
def test_with_valkey_killed_under_load_every_accepted_execution_succeeds_and_is_recorded_once(
    installation: Installation,
) -> None:
    with load_on(installation) as load:
        load.wait_for(BEFORE)
        installation.kill("valkey")
        load.wait_for(AFTER)

    assert load.refused == 0
    wait_succeeded(installation, load.accepted)
    installation.wait_healthy()
    installation.wait_stored(load.accepted)
    assert installation.stored_events(load.accepted) == installation.ledger_events(load.accepted)


@pytest.mark.req("D-01")
def test_with_workers_killed_under_load_every_accepted_execution_succeeds_with_its_effects_once(
    installation: Installation,
) -> None:
    with load_on(installation) as load:
        for _ in range(3):
            load.wait_for(BEFORE)
            installation.kill("worker")
            installation.wait_healthy()
        load.wait_for(AFTER)

    assert load.refused == 0
    wait_succeeded(installation, load.accepted)
    effects = installation.rows(
        "select count(*), count(distinct execution_id) from mutations where execution_id = any(%(ids)s)",
        ids=load.accepted,
    )
    assert effects == [(len(load.accepted), len(load.accepted))]
    assert installation.rows(
        "select count(*) from fragments f join mutations m on m.entity_id = f.id where m.execution_id = any(%(ids)s)",
        ids=load.accepted,
    ) == [(len(load.accepted),)]


@pytest.mark.req("S-01", "S-02", "C-13")
def test_with_the_sink_killed_under_load_every_event_is_stored_exactly_once(installation: Installation) -> None:
    with load_on(installation) as load:
        for _ in range(3):
            load.wait_for(BEFORE)
            installation.kill("sink")
            installation.wait_healthy()
        load.wait_for(AFTER)

    assert load.refused == 0
    wait_succeeded(installation, load.accepted)
    installation.wait_stored(load.accepted)
    stored = installation.stored_events(load.accepted)
    assert stored == installation.ledger_events(load.accepted)
    assert len(stored) == len(set(stored)) == 9 * len(load.accepted)


@pytest.mark.req("D-01")
def test_when_the_queue_is_emptied_the_sweeper_hints_again(installation: Installation) -> None:
    with installation.redis() as redis:
        with installation.paused("worker"):
            queued = [installation.submit("todo.add", {"body": "forgotten by the queue"}) for _ in range(5)]
            redis.delete(*redis.keys(QUEUE_KEYS))
            awaited(lambda: redis.llen(QUEUE))
            states = installation.rows(
                "select distinct state from command_executions where id = any(%(ids)s)", ids=queued
            )
        assert states == [("queued",)]

        wait_succeeded(installation, queued)


@pytest.mark.req("D-01", "C-13")
def test_with_a_valkey_that_says_nothing_a_submission_is_accepted_in_time_and_runs_all_the_same(
    installation: Installation,
) -> None:
    """The command line waits 10 s for an answer; whoever gets none submits again what was accepted."""
    with installation.paused("valkey"):
        began = time.monotonic()
        accepted = installation.submit("todo.add", {"body": "while Valkey hangs"})
        took_s = time.monotonic() - began
        wait_succeeded(installation, [accepted])

    assert took_s < 5


@pytest.mark.req("D-01")
def test_with_postgres_killed_nothing_accepted_is_lost(installation: Installation) -> None:
    """Submissions are refused meanwhile; those that were accepted and had not begun run when it is back."""
    with installation.paused("worker"):
        queued = [installation.submit("todo.add", {"body": "waits for Postgres"}) for _ in range(5)]
        installation.kill("postgres")
    awaited(lambda: installation.request("GET", "/readyz").status == 200)

    wait_succeeded(installation, queued)
    installation.wait_stored(queued)
    assert installation.stored_events(queued) == installation.ledger_events(queued)
