"""Verify over its doors, and the reconciler as the scheduler and the maintenance worker have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
import pytest
from fixtures.apis import Api, Weir
from fixtures.ledgers import Bookkeeper
from fixtures.stacks import eventually
from psycopg import Connection
from structlog.testing import capture_logs

from api.settings import Settings
from workers.actors import RECONCILE, ROUNDS, declare_maintenance
from workers.broker import MAINTENANCE_QUEUE
from workers.resources import Resources, open_resources
from workers.rounds import ask_for_reconciliation, make_reconciler, reconcile
from workers.services.reconciler import Reconciler

#: Back to where the bookkeeper's clock stands.
LONG = "4000d"


@pytest.fixture
def verify(offline_weir: Weir, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Types `weir telemetry verify`."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    return partial(offline_weir, "telemetry", "verify", "--last", LONG)


@pytest.mark.req("C-13", "C-15")
def test_a_script_learns_from_the_exit_code_whether_anything_is_missing(
    bookkeeper: Bookkeeper, verify: Callable[..., Any]
) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account()

    whole = verify("--format", "json")
    bookkeeper.lose([max(bookkeeper.stored())])
    broken = verify("--format", "json")

    assert (whole.code, whole.json["complete"]) == (0, True)
    assert (broken.code, broken.json["complete"]) == (1, False)
    assert sum(broken.json["ledger"]["missing"].values()) == 1


def test_a_person_is_told_in_words(bookkeeper: Bookkeeper, verify: Callable[..., Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account(
        producer="worker-7", seen="{[1,4),[6,11)}", dropped='{"dsl.step.executed": 3, "http.request.completed": 2}'
    )
    lost = max(bookkeeper.stored())
    bookkeeper.lose([lost])

    found = verify()

    assert found.code == 1
    assert "everything: NOT COMPLETE" in found.out
    assert "transport: NOT COMPLETE, 1 producer, 1 at work" in found.out
    (row,) = [line for line in found.out.splitlines() if line.startswith("worker-7")]
    assert "4-5" in row
    assert "3 dsl.step.executed" in row
    assert "lost for good, for they have no row: 2 http.request.completed." in found.out
    assert "ask again" in found.out
    assert f"{lost}" in found.out
    assert "requests, refused submissions" in found.out


def test_what_nobody_could_look_at_is_not_called_complete(bookkeeper: Bookkeeper, verify: Callable[..., Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account(heard_ago=timedelta(hours=3))

    recent = verify("--last", "1h")
    program = verify("--last", "1h", "--format", "json")

    assert (recent.code, program.code) == (1, 1)
    assert "everything: NOT COMPLETE" in recent.out
    assert "no rows of then could be compared yet" in recent.out
    assert "Nothing was heard of since" in recent.out
    assert (program.json["complete"], program.json["current"]) == (False, False)
    assert program.json["ledger"]["complete"] is True


def test_who_holds_back_what_is_old_is_named(bookkeeper: Bookkeeper, verify: Callable[..., Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account(producer="worker-7", waits_ago=timedelta(minutes=5))

    found = verify()

    assert found.code == 1
    assert "worker-7 holds back what occurred since" in found.out


def test_how_long_a_producer_may_be_silent_is_a_setting(
    bookkeeper: Bookkeeper, verify: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bookkeeper.account(producer="worker-7", heard_ago=timedelta(minutes=1))
    bookkeeper.account(producer="worker-8")

    usual = verify("--format", "json").json
    monkeypatch.setenv("WEIR_TELEMETRY_PRODUCER_SILENCE", "5m")
    patient = verify("--format", "json").json

    assert usual["window"]["silent"] == ["worker-7"]
    assert patient["window"]["silent"] == []


def test_without_a_database_it_says_how_to_get_one(offline_weir: Weir) -> None:
    found = offline_weir("telemetry", "verify")

    assert found.code == 1
    assert "nothing is up" in found.err


def test_a_time_that_is_none_is_a_fault_of_the_command_line(offline_weir: Weir) -> None:
    assert offline_weir("telemetry", "verify", "--last", "soon").code == 2


@pytest.mark.req("C-15")
def test_the_api_answers_the_same(bookkeeper: Bookkeeper, api: Api, verify: Callable[..., Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.lose([max(bookkeeper.stored())])

    told = api.get("/api/telemetry/completeness", time_range=LONG).json
    typed = verify("--format", "json").json

    assert told["ledger"] == typed["ledger"]
    assert told["complete"] is False
    assert api.get("/api/telemetry/completeness").json["ledger"]["missing"] == {}
    assert api.get("/api/telemetry/completeness", time_range="1000000d").status_code == 200
    assert api.get("/api/telemetry/completeness", time_range="always").status_code == 422


@pytest.mark.req("C-15")
def test_health_tells_of_the_account(bookkeeper: Bookkeeper, api: Api, connection: Connection[Any]) -> None:
    assert api.get("/api/telemetry/health").json["checks"]["ledger"] == "never compared"
    bookkeeper.account()
    make_reconciler(api.resources).run_once()

    well = api.get("/api/telemetry/health").json
    connection.execute("update telemetry_producers set waits_since = now() - interval '3 min', seen = '{[1,5)}'")
    make_reconciler(api.resources).run_once()
    ill = api.get("/api/telemetry/health").json

    assert well["checks"] == dict.fromkeys(("stream", "watermark", "producers", "ledger"), "ok")
    assert ill["status"] == "degraded"
    assert ill["checks"]["watermark"].startswith("held back by worker-1 for ")
    assert ill["checks"]["producers"] == "something is missing of 1 of them"


@pytest.fixture
def resources(api_settings: Settings) -> Iterator[Resources]:
    """What a process holds."""
    with open_resources(api_settings.servers, api_settings.workers, "test") as resources:
        yield resources


@pytest.mark.req("C-13")
def test_the_scheduler_asks_and_the_maintenance_worker_gives_back(bookkeeper: Bookkeeper, resources: Resources) -> None:
    bookkeeper.work()
    reconciler = make_reconciler(resources)
    rounds: list[Reconciler] = []

    def go_round() -> None:
        reconcile(reconciler)
        rounds.append(reconciler)

    declare_maintenance(resources.broker, {RECONCILE: go_round})
    worker = dramatiq.Worker(resources.broker, worker_timeout=100, worker_threads=1)

    for _ in range(len(ROUNDS) + 2):
        ask_for_reconciliation(resources)
    assert resources.broker.depth(MAINTENANCE_QUEUE) == len(ROUNDS), "no more than a worker that is away would find"
    worker.start()
    try:
        eventually(lambda: len(rounds) == len(ROUNDS))
    finally:
        worker.stop()
    assert len(bookkeeper.stored()) == len(bookkeeper.events)
    ask_for_reconciliation(resources)

    assert resources.broker.depth(MAINTENANCE_QUEUE) == 0, "it was just done"


def test_postgres_being_away_ends_nothing(resources: Resources) -> None:
    away = replace(resources, servers=replace(resources.servers, database_url="postgresql://127.0.0.1:1/weir"))

    with capture_logs() as lines:
        reconcile(make_reconciler(away))

    assert [(line["event"], line["reason"]) for line in lines] == [("reconciliation_failed", "store.unavailable")]
