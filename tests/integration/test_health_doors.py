"""Health, its history, snapshots and chains, and the doctor, as people and programs ask for them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures.apis import Api, Weir
from fixtures.chaining import chain_all_traces
from fixtures.samples import make_scope, make_step, now_us
from psycopg import Connection

from api.app import close_app
from api.client import ApiUnreachable
from api.settings import Settings
from workers.boot import snapshots_of
from workers.rounds import check_up

pytestmark = pytest.mark.req("S-06")


def chained(api: Api) -> None:
    """A few executions, chained."""
    for number in range(3):
        api.submit("todo.add", {"body": f"number {number}"})
    api.run()
    chain_all_traces(api.resources)


@pytest.mark.req("S-01")
def test_chains_are_pages_that_are_filtered(api: Api) -> None:
    chained(api)
    record = api.resources.recorder.record
    record(make_step(make_scope(), now_us()))
    chain_all_traces(api.resources)

    first = api.get("/api/telemetry/chains", limit=3).json
    second = api.get("/api/telemetry/chains", limit=3, cursor=first["next_cursor"]).json
    running = api.get("/api/telemetry/chains", status="running").json["items"]
    (one,) = api.get("/api/telemetry/chains", correlation_id=second["items"][0]["correlation_id"]).json["items"]

    found = [*first["items"], *second["items"]]
    assert [each["status"] for each in found] == ["running", "succeeded", "succeeded", "succeeded"]
    assert (running, second["next_cursor"]) == (found[:1], None)
    assert one == second["items"][0]
    assert (one["command_slug"], one["depth"], one["executions"]) == ("todo.add", 1, 1)
    assert len(one["user_id"]) == 32


@pytest.mark.req("S-12")
def test_what_check_ups_found_is_read_page_by_page(api: Api) -> None:
    check_up(api.resources)

    everything = api.get("/api/telemetry/health-checks").json["items"]
    first = api.get("/api/telemetry/health-checks", limit=5).json
    second = api.get("/api/telemetry/health-checks", limit=100, cursor=first["next_cursor"]).json
    disks = api.get("/api/telemetry/health-checks", component="database", status="healthy", time_range="1h").json

    assert [*first["items"], *second["items"]] == everything
    assert {each["name"] for each in disks["items"]} == {"database", "migrations", "storage"}


def test_snapshots_are_read_with_their_units(api: Api, connection: Connection) -> None:
    snapshots_of(api.resources, "worker", slots=4, slots_taken=lambda: 1).tell()
    connection.execute(
        "insert into telemetry_performance_snapshots (id, window_at, window_us, subject, name, runs, failures, p50_us,"
        " p95_us, p99_us, max_us, total_us, class)"
        " values ('019bb73a-29e8-723d-9b92-8f0d11bad69f', '2026-01-01', 300000000, 'command', 'todo.add', 2, 1, 1500,"
        " 1500, 1500, 1500, 3000, 'fast')"
    )

    process, command = api.get("/api/telemetry/performance/snapshots").json["items"]
    only = api.get("/api/telemetry/performance/snapshots", subject="command", name="todo.add").json["items"]

    assert (process["name"], process["slots_taken"], process["class"]) == ("worker", 1, None)
    assert only == [command]
    assert (command["p95_ms"], command["class"], command["window_ms"]) == (1.5, "fast", 300_000)


def test_health_names_each_problem_and_the_command_that_mends_it(api: Api, connection: Connection) -> None:
    connection.execute("delete from schema_migrations where name like '0023%'")

    found = api.get("/api/telemetry/health").json
    only = api.get("/api/telemetry/health", component="database").json

    (migrations,) = [each for each in only["findings"] if each["name"] == "migrations"]
    assert (found["overall_health"], found["status"]) == ("critical", "degraded")
    assert (migrations["status"], migrations["fix"]) == ("critical", "weir migrate")
    assert [each["component"] for each in only["components"]] == ["database"]
    assert set(only["checks"]) == {"stream", "watermark", "producers", "ledger"}


@pytest.mark.req("S-12")
def test_work_that_nobody_does_is_found(api: Api, connection: Connection) -> None:
    def critical() -> set[str]:
        found = api.get("/api/telemetry/health", component="workers").json["findings"]
        return {each["name"] for each in found if each["status"] == "critical"}

    api.submit("todo.add", {"body": "x"})
    assert critical() == set()
    connection.execute("update command_executions set run_at = now() - interval '1 min'")
    assert critical() == {"lanes"}
    connection.execute(
        "update command_executions set state = 'running', attempt = 1, fence = 1, worker_id = gen_random_uuid(),"
        " started_at = now() - interval '1 min'"
    )
    assert critical() == {"leases"}


@pytest.fixture
def api_without_servers(api_settings: Settings) -> Iterator[Callable[[], Api]]:
    """An API whose servers have gone away."""
    made: list[Api] = []

    def make() -> Api:
        api = Api(api_settings, api_settings.servers.commands_dir)
        api.resources.pool.close()
        made.append(api)
        return api

    yield make
    for api in made:
        close_app(api.app)


def test_health_answers_although_postgres_is_away(api_without_servers: Callable[[], Api]) -> None:
    answer = api_without_servers().get("/api/telemetry/health")

    states = {each["name"]: each["status"] for each in answer.json["findings"]}
    assert (answer.status_code, answer.json["overall_health"]) == (200, "critical")
    assert (states["database"], states["migrations"], states["redis"]) == ("critical", "unknown", "healthy")


def test_a_script_learns_from_the_exit_code_how_it_is(weir: Weir, connection: Connection) -> None:
    well = weir("telemetry", "health", "--component", "database", "--format", "json")
    connection.execute(
        "insert into telemetry_producers (epoch, producer, rung) values (gen_random_uuid(), 'worker-1', 'spooling')"
    )
    spooling = weir("telemetry", "health", "--component", "recorder")
    strict = weir("telemetry", "health", "--component", "recorder", "--fail-on", "warning")
    connection.execute("update telemetry_producers set rung = 'dropping'")
    dropping = weir("telemetry", "health", "--component", "recorder", "--format", "json")

    assert (well.code, well.json["overall_health"]) == (0, "healthy")
    assert (spooling.code, strict.code, dropping.code) == (0, 1, 1)
    assert dropping.json["overall_health"] == "critical"
    assert "overall: warning" in spooling.out
    assert "weir health sink  (buffer)" in spooling.out


def test_a_component_that_there_is_not_is_no_healthy_one(weir: Weir) -> None:
    known = weir("telemetry", "health", "--component", "tool_telemetry")
    unknown = weir("telemetry", "health", "--component", "dbase")

    assert (known.code, unknown.code) == (0, 2)
    assert "database" in unknown.err


def test_watching_goes_on_until_somebody_ends_it(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.checkup.time.sleep", wait)
    watched = weir("telemetry", "health", "--watch", "--every", "2", "--format", "json", "--component", "disk")

    looks = [json.loads(line) for line in watched.out.splitlines()]
    assert (watched.code, len(looks), waited) == (130, 2, [2.0, 2.0])
    assert all(look["overall_health"] == "healthy" for look in looks)


def test_watching_outlives_what_is_watched(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            monkeypatch.setattr("api.client.Client.get", gone)
        if len(waited) == 2:
            raise KeyboardInterrupt

    def gone(*_args: object, **_options: object) -> None:
        raise ApiUnreachable("nothing answers")

    monkeypatch.setattr("api.cli.checkup.time.sleep", wait)
    watched = weir("telemetry", "health", "--watch", "--format", "json", "--component", "disk")

    looks = [json.loads(line) for line in watched.out.splitlines()]
    assert (watched.code, [look["overall_health"] for look in looks]) == (130, ["healthy", "critical"])
    assert looks[1]["findings"][0]["detail"] == "nothing answers"


def test_the_doctor_works_when_nothing_runs(offline_weir: Weir, tmp_path: Path) -> None:
    found = offline_weir("doctor", "--format", "json")

    states = {each["name"]: each for each in found.json["findings"]}
    assert found.code == 0
    assert (states["python"]["status"], states["packages"]["status"]) == ("healthy", "healthy")
    assert (states["stack"]["status"], states["stack"]["fix"]) == ("unknown", "weir up --detach")
    assert not (tmp_path / "home").exists(), "it changes nothing"


def test_the_doctor_names_what_is_wrong_with_the_machine(
    offline_weir: Weir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets").chmod(0o755)
    home.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("WEIR_API_PORT", str(taken.getsockname()[1]))
        found = offline_weir("doctor", "--format", "json")

    states = {each["name"]: each for each in found.json["findings"]}
    assert found.code == 1
    assert (states["home"]["status"], states["home"]["fix"]) == ("critical", f"chmod go-w {home}")
    assert (states["secrets"]["status"], states["secrets"]["fix"]) == ("critical", f"chmod go-rwx {home / 'secrets'}")
    assert (states["port"]["status"], states["port"]["fix"]) == ("warning", "weir up --port 0")


def test_the_doctor_goes_on_with_wrong_settings(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_API_PORT", "many")

    found = offline_weir("doctor")

    assert found.code == 1
    assert "WEIR_API_PORT" in found.out
    assert "Python" in found.out


def test_the_doctor_looks_at_servers_that_answer(
    offline_weir: Weir, api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_DATABASE_URL", str(api_settings.servers.database_url))
    monkeypatch.setenv("WEIR_REDIS_URL", str(api_settings.servers.redis_url))

    states = {each["name"]: each for each in offline_weir("doctor", "--format", "json").json["findings"]}

    assert states["postgres"]["detail"].startswith("PostgreSQL 1")
    assert states["migrations"]["status"] == "healthy"
    assert states["lag"]["status"] == "healthy"


def test_the_doctor_tells_of_servers_that_do_not_answer(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("WEIR_REDIS_URL", "redis://127.0.0.1:1/0")

    found = offline_weir("doctor", "--format", "json")

    states = {each["name"]: each["status"] for each in found.json["findings"]}
    assert found.code == 1
    assert (states["postgres"], states["database"], states["lag"]) == ("critical", "critical", "unknown")
    assert "weir doctor" not in {each["fix"] for each in found.json["findings"]}


def test_limits_that_contradict_each_other_are_refused(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_CHECKUP_LAG_WARNING", "5m")

    assert "WEIR_CHECKUP_LAG_WARNING is more than WEIR_CHECKUP_LAG_CRITICAL" in offline_weir("doctor").out
