"""The containers of `docker-compose.yml`, run as processes: their commands, environments, health checks and ends."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from fixtures.containers import Containers, ours
from fixtures.installations import awaited

PROCESSES = ["api", "worker", "sink", "scheduler", "maintenance"]

GREETING = """
slug: greet
inputs:
  name: {type: string}
steps:
  - id: answer
    type: respond
    with: {value: "Hello {{ inputs.name }}"}
"""


@pytest.mark.req("D-03")
def test_the_file_starts_every_process_of_ours_and_the_migrations(containers: Containers) -> None:
    names = [service.name for service in ours(containers.project.services)]

    assert names == ["migrate", *PROCESSES]
    assert containers.processes["migrate"].returncode == 0
    assert "0001" in containers.log("migrate")
    assert containers.check(*PROCESSES) == dict.fromkeys(PROCESSES, 0)


@pytest.mark.req("D-03", "D-01")
def test_a_command_sent_to_the_published_port_runs_and_its_events_arrive(containers: Containers) -> None:
    (containers.commands / "greet.yaml").write_text(GREETING, encoding="utf-8")
    with containers.client() as client:
        accepted = client.post("/api/commands/greet/executions", {"inputs": {"name": "Ada"}})
        assert accepted.status == 202
        execution = containers.ended(client, accepted.body["id"])
        assert (execution["state"], execution["result"]) == ("succeeded", "Hello Ada")

        def events() -> set[str]:
            items = client.get("/api/telemetry/events", {"correlation_id": execution["correlation_id"]})["items"]
            return {item["event_type"] for item in items}

        expected = {"http.request.completed", "dsl.step.executed"} | {
            f"command.execution.{end}" for end in ("queued", "started", "completed")
        }
        awaited(lambda: events() >= expected)


@pytest.mark.req("D-03")
def test_a_process_that_stands_still_is_unhealthy_until_it_goes_on(containers: Containers) -> None:
    with containers.frozen(PROCESSES):
        said = containers.check(*PROCESSES)
        assert {name for name, answer in said.items() if answer == 0} == set()
        assert all("stands still" in str(answer) for answer in said.values()), said

    containers.wait_healthy(PROCESSES)


@pytest.mark.req("D-03")
@pytest.mark.parametrize(("server", "shown"), [("valkey", "redis"), ("postgres", "postgres")])
def test_a_process_without_its_server_is_unhealthy_until_it_is_back(
    containers: Containers, server: str, shown: str
) -> None:
    containers.stop_server(server)
    try:
        said = containers.check(*PROCESSES)
    finally:
        containers.start_server(server)

    assert {name for name, answer in said.items() if answer == 0} == set()
    assert all(f"{shown.ljust(9)} does not answer" in str(answer) for answer in said.values()), said
    containers.wait_healthy(PROCESSES)


@pytest.mark.req("D-03")
def test_a_process_that_has_not_started_is_unhealthy(containers: Containers) -> None:
    containers.send(signal.SIGKILL, ["sink"])
    containers.processes["sink"].wait(10)

    assert "no sink answers" in str(containers.check("sink")["sink"])

    containers.start("sink")
    containers.wait_healthy(["sink"])


@pytest.mark.req("D-03")
def test_the_stop_signal_ends_every_process_with_0_within_its_grace(containers: Containers) -> None:
    assert containers.image.stop_signal is not None
    containers.send(signal.Signals[containers.image.stop_signal], PROCESSES)
    begun = time.monotonic()

    for name in PROCESSES:
        left_s = containers.project.services[name].grace.total_seconds() - (time.monotonic() - begun)
        try:
            code = containers.processes[name].wait(left_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{name} did not end in time:\n{containers.log(name)}")
        assert code == 0, containers.log(name)
        assert "Traceback" not in containers.log(name)


@pytest.mark.req("D-03")
def test_migrations_that_were_applied_are_no_reason_to_fail(containers: Containers) -> None:
    assert containers.start("migrate").wait(60) == 0
    with containers.database() as connection:
        rows = connection.execute("select count(*) from schema_migrations").fetchone()
    assert rows is not None
    assert rows[0] > 0
