"""The check-up: what it finds, what is stored of it, and what it costs that something is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.samples import ERROR, make_scope, make_step, now_us
from psycopg import Connection
from redis import Redis

from api.settings import Settings
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.events import Event, HttpRequestCompleted, StepFailed
from telemetry.ids import mint
from telemetry.partitions import drop_partition, list_partitions, make_partitions
from telemetry.rows import RowEncoder
from telemetry.store import insert_new_events
from workers.actors import BUILD_CHAINS, CHECK_UP, MAINTAIN, ROUNDS, declare_maintenance
from workers.boot import snapshots_of
from workers.broker import MAINTENANCE_QUEUE
from workers.checkup import history
from workers.checkup.finding import Finding, Surroundings, worst
from workers.checkup.look import CHECKS, look_at_all
from workers.checkup.rounds import go_round, is_wanted
from workers.resources import Resources, open_resources
from workers.rounds import ask_for, ask_for_chains, ask_for_checkup, chain_traces, check_up
from workers.settings import CheckupSettings

pytestmark = pytest.mark.req("S-12")

INTERVAL = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def partitions(connection: Connection) -> None:
    make_partitions(connection, SystemClock().now(), 7)


@pytest.fixture
def resources(api_settings: Settings) -> Iterator[Resources]:
    """What a process holds."""
    with open_resources(api_settings.servers, api_settings.workers, "test") as resources:
        yield resources


@pytest.fixture
def at(api_settings: Settings, connection: Connection, tmp_path: Path) -> Surroundings:
    """Everything, with a home and a spool."""
    telemetry = replace(api_settings.telemetry, spool_dir=tmp_path / "spool")
    workers = replace(api_settings.workers, dsl=replace(api_settings.dsl, telemetry=telemetry))
    servers = replace(api_settings.servers, home=tmp_path)
    return Surroundings(connection, servers, workers, SystemClock())


def limited(at: Surroundings, **limits: Any) -> Surroundings:  # noqa: ANN401 - any field of CheckupSettings
    return replace(at, workers=replace(at.workers, checkup=CheckupSettings(**limits)))


def find(at: Surroundings, name: str) -> Finding:
    """The one finding of this name."""
    (found,) = [finding for finding in look_at_all(at) if finding.name == name]
    return found


def store(connection: Connection, *events: Event) -> None:
    encode = RowEncoder().encode
    with connection.transaction():
        insert_new_events(connection, [encode(event) for event in events])


def step_failed(component_at_us: int) -> StepFailed:
    return StepFailed(mint(component_at_us), component_at_us, make_scope(), "check", "validate", 50, ERROR)


def test_everything_is_looked_at_and_named_once(at: Surroundings) -> None:
    found = look_at_all(at)

    assert [finding for finding in found if finding.status == "unknown"] == []
    assert {check.name for check in CHECKS} - {"account", "error_rate"} <= {finding.name for finding in found}
    assert all(finding.fix for finding in found if finding.status != "healthy")
    assert not any(finding.fix for finding in found if finding.status == "healthy")


Act = Callable[[Connection[Any], Redis, Path], object]

FAULTS: tuple[tuple[str, str, Act], ...] = (
    (
        "buffer",
        "critical",
        lambda db, _redis, _folder: db.execute(
            "insert into telemetry_producers (epoch, producer, rung, dropped)"
            " values (gen_random_uuid(), 'worker-1', 'dropping', '{\"dsl.step.executed\": 7}')"
        ),
    ),
    (
        "buffer",
        "warning",
        lambda db, _redis, _folder: db.execute(
            "insert into telemetry_producers (epoch, producer, rung) values (gen_random_uuid(), 'worker-1', 'spooling')"
        ),
    ),
    (
        "lag",
        "critical",
        lambda _db, redis, _folder: redis.xadd("weir:telemetry", {"b": b"x"}, id="1000-0"),
    ),
    (
        "quarantine",
        "warning",
        lambda db, _redis, _folder: db.execute(
            "insert into telemetry_quarantine (id, reason, shape, size_bytes) values"
            " ('ffffffff-ffff-7fff-8fff-ffffffffffff', 'malformed', '{}', 3)"
        ),
    ),
    ("partitions", "warning", lambda db, _redis, _folder: drop_partition(db, list_partitions(db)[5])),
    ("partitions", "critical", lambda db, _redis, _folder: drop_partition(db, list_partitions(db)[2])),
    (
        "migrations",
        "critical",
        lambda db, _redis, _folder: db.execute("delete from schema_migrations where name like '0023%'"),
    ),
    ("spool", "critical", lambda _db, _redis, folder: _fill(folder / "spool" / "a" / "1.seg", 250_000_000)),
)


def _fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(("name", "status", "act"), FAULTS, ids=[f"{name}-{status}" for name, status, _ in FAULTS])
def test_each_fault_is_found_with_what_mends_it(  # noqa: PLR0913 - a fault of any server
    at: Surroundings, connection: Connection, redis: Redis, tmp_path: Path, name: str, status: str, act: Act
) -> None:
    assert find(at, name).status == "healthy"

    act(connection, redis, tmp_path)

    found = find(at, name)
    assert (found.status, bool(found.fix)) == (status, True)


def test_limits_are_settings(at: Surroundings) -> None:
    strict = limited(at, disk_warning_bytes=1 << 60, disk_critical_bytes=1 << 59, skew_warning=timedelta(0))

    assert find(strict, "disk").status == "critical"
    assert find(strict, "clock").status == "warning"


def test_what_is_acknowledged_does_not_lag(at: Surroundings, redis: Redis) -> None:
    redis.xadd("weir:telemetry", {"b": b"x"}, id="1000-0")
    redis.xgroup_create("weir:telemetry", "sink", id="0")
    redis.xreadgroup("sink", "one", {"weir:telemetry": ">"})
    assert find(at, "lag").status == "critical"

    redis.xack("weir:telemetry", "sink", "1000-0")

    assert find(at, "lag").value == 0


def test_the_error_rate_is_that_of_each_component(at: Surroundings, connection: Connection) -> None:
    at_us = now_us()
    store(connection, *(step_failed(at_us) for _ in range(5)), *(make_step(at_us=at_us) for _ in range(20)))

    found = find(at, "error_rate")

    assert (found.component, found.status, found.value) == ("dsl", "warning", 20)
    assert found.fix is not None
    assert "--component dsl" in found.fix


def test_few_failures_are_no_error_rate(at: Surroundings, connection: Connection) -> None:
    store(connection, step_failed(now_us()))

    assert find(at, "error_rate").status == "healthy"


def test_requests_that_were_refused_are_no_fault_of_ours(at: Surroundings, connection: Connection) -> None:
    def answered(status: int) -> HttpRequestCompleted:
        at_us = now_us()
        return HttpRequestCompleted(mint(at_us), at_us, make_scope(), "unmatched", "GET", status, 200, "failed")

    store(connection, *(answered(404) for _ in range(30)))
    assert find(at, "error_rate").status == "healthy"

    store(connection, *(answered(503) for _ in range(10)))
    assert (find(at, "error_rate").status, find(at, "error_rate").value) == ("warning", 25)


def test_postgres_that_goes_while_it_is_looked_at_is_critical_and_hides_nothing_else(
    at: Surroundings, connection: Connection, database_url: str
) -> None:
    with connect(database_url, name="weir test", autocommit=True) as ours:
        connection.execute("select pg_terminate_backend(%s)", (ours.info.backend_pid,))
        found = {finding.name: finding for finding in look_at_all(replace(at, connection=ours))}

    assert (found["database"].status, found["database"].detail) == ("critical", "Postgres does not answer")
    assert (found["redis"].status, found["disk"].status, found["lag"].status) == ("healthy", "healthy", "healthy")
    assert {found[name].detail for name in ("migrations", "leases")} == {"cannot be seen without Postgres"}
    assert [finding.fix for finding in found.values() if finding.status == "unknown" and finding.fix] == []


def test_without_servers_it_still_says_what_is_wrong(at: Surroundings) -> None:
    alone = replace(at, connection=None, servers=replace(at.servers, redis_url="redis://127.0.0.1:1/0"))

    found = {finding.name: finding.status for finding in look_at_all(alone)}

    assert (found["database"], found["redis"]) == ("critical", "critical")
    assert (found["migrations"], found["lag"], found["disk"]) == ("unknown", "unknown", "healthy")
    assert worst(look_at_all(alone)) == "critical"


@pytest.mark.req("S-01")
def test_a_round_is_stored_once_a_window(at: Surroundings, connection: Connection) -> None:
    assert is_wanted(connection, INTERVAL)

    first, second = go_round(at), go_round(at)

    stored = history.checks(connection, limit=100)
    assert (first.is_stored, second.is_stored, is_wanted(connection, INTERVAL)) == (True, False, False)
    assert len(stored) == len({(row.name, row.component) for row in first.findings})
    assert {row.name: row.status for row in stored}["disk"] == find(at, "disk").status


@pytest.mark.req("S-01", "C-16")
def test_performance_of_the_window_before_is_stored_with_it(at: Surroundings, connection: Connection) -> None:
    begun = connection.execute(
        "select (extract(epoch from date_bin('5 min', now(), '2000-01-01Z')) * 1000000)::bigint"
    ).fetchone()
    assert begun is not None
    at_us = begun[0] - 60_000_000
    durations = [10_000] * 94 + [2_000_000] * 5
    store(
        connection,
        *(make_step(at_us=at_us, duration_us=duration) for duration in durations),
        step_failed(at_us),
        make_step(at_us=at_us, step_type="respond", duration_us=99),
    )

    go_round(at)

    rows = {row.name: row for row in history.snapshots(connection, limit=10, subject="step_type")}
    assert {name: row.rated for name, row in rows.items()} == {
        "fragment.create": "slow",
        "validate": "fast",
        "respond": "fast",
    }
    slow = rows["fragment.create"]
    assert (slow.runs, slow.failures, slow.p50_us, slow.p95_us, slow.max_us) == (99, 0, 10_000, 2_000_000, 2_000_000)
    assert (rows["validate"].runs, rows["validate"].failures) == (1, 1)


def test_what_is_old_is_forgotten(at: Surroundings, connection: Connection) -> None:
    go_round(at)
    connection.execute("update telemetry_health_checks set window_at = window_at - interval '31 days'")

    assert go_round(at).forgotten == len(history.checks(connection, limit=100))


def test_a_process_tells_of_itself_once_a_window(resources: Resources, connection: Connection) -> None:
    snapshots = snapshots_of(resources, "worker", slots=4, slots_taken=lambda: 3)

    snapshots.tell()
    snapshots.tell()

    (row,) = history.snapshots(connection, limit=10)
    assert (row.subject, row.name, row.slots, row.slots_taken) == ("process", "worker", 4, 3)
    assert (row.memory_bytes or 0) > 1_000_000
    assert abs(row.clock_skew_us or 0) < 1_000_000


def test_a_host_whose_clock_is_wrong_is_named(at: Surroundings, resources: Resources, connection: Connection) -> None:
    snapshots_of(resources, "sink").tell()
    connection.execute("update telemetry_performance_snapshots set clock_skew_us = -90000000, host = 'far-away'")

    found = find(at, "clock")

    assert (found.status, found.value) == ("critical", 90)
    assert "far-away" in found.detail


@pytest.mark.req("S-13")
def test_the_scheduler_asks_and_maintenance_looks_and_builds(resources: Resources, connection: Connection) -> None:
    rounds = {CHECK_UP: lambda: check_up(resources), BUILD_CHAINS: lambda: chain_traces(resources)}
    declare_maintenance(resources.broker, rounds)

    ask_for_checkup(resources)
    ask_for_chains(resources)

    assert resources.broker.depth(MAINTENANCE_QUEUE) == 1  # there is nothing to build
    check_up(resources)
    ask_for_checkup(resources)
    assert resources.broker.depth(MAINTENANCE_QUEUE) == 1
    assert history.checks(connection, limit=1) != []


@pytest.mark.req("S-13")
def test_nothing_piles_up_while_maintenance_is_away(resources: Resources) -> None:
    for _ in range(20):
        ask_for_checkup(resources)

    assert resources.broker.depth(MAINTENANCE_QUEUE) == len(ROUNDS)
    assert ask_for(resources.broker, MAINTAIN) is not None
