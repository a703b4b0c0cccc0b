"""The supervisor with real processes: what it starts, starts again, and takes with it when it goes."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable

import pytest
from fixtures.stacks import RunningStack, is_alive, wait_gone

from workers.stack.control import stop_stack
from workers.stack.lock import find_holder
from workers.stack.status import read_status

StartStack = Callable[..., RunningStack]


@pytest.mark.req("D-03")
def test_a_service_that_is_killed_is_started_again_and_counted(start_stack: StartStack) -> None:
    stack = start_stack()
    stack.wait_ready()
    first = stack.pid_of("worker")

    os.kill(first, signal.SIGKILL)

    stack.read_until(rf"process_ended name=worker pid={first} signal=SIGKILL")
    stack.read_until(r"process_started name=worker pid=\d+ restarts=1")
    assert stack.pid_of("worker") != first
    assert stack.stop() == 0


def test_what_a_dead_service_had_started_is_killed_before_it_is_started_again(start_stack: StartStack) -> None:
    stack = start_stack(services={"api": "parent"})
    child = int(stack.read_until(r"child=(\d+)")[1])

    os.kill(stack.pid_of("api"), signal.SIGKILL)

    stack.read_until("process_started name=api pid=.* restarts=1")
    wait_gone(child)


@pytest.mark.req("D-03")
def test_a_server_that_is_killed_is_started_again_on_its_data_and_port(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey", "postgres"])
    stack.wait_ready()
    urls = stack.status().urls

    for server in ("valkey", "postgres"):
        os.kill(stack.pid_of(server), signal.SIGKILL)
        stack.read_until(rf"process_ended name={server} .*signal=SIGKILL")
        stack.read_until(rf"process_ready name={server} ")

    assert stack.status().urls == urls
    assert stack.stop() == 0


def test_a_killed_supervisor_takes_everything_with_it_and_the_next_starts_at_once(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey"], services={"worker": "deaf", "api": "parent"})
    child = int(stack.read_until(r"child=(\d+)")[1])
    pids = [child, *(stack.pid_of(name) for name in ("valkey", "worker", "api"))]

    stack.process.kill()

    for pid in pids:
        wait_gone(pid)
    assert (stack.home / "run" / "status.json").exists()
    assert read_status(stack.home / "run") is None
    second = start_stack(servers=["valkey"])
    second.wait_ready()
    assert second.stop() == 0


def test_a_second_supervisor_is_refused_and_told_about_the_first(start_stack: StartStack) -> None:
    first = start_stack()
    first.wait_ready()

    second = start_stack()

    assert second.wait() == 1
    assert "stack.running: " in second.errors
    assert f"process {first.process.pid}, since 2" in second.errors
    assert str(first.home) in second.errors
    assert "weir down" in second.errors
    assert first.status().is_healthy
    assert first.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_services_then_servers_and_leaves_nothing_behind(
    start_stack: StartStack, number: signal.Signals
) -> None:
    stack = start_stack(servers=["valkey"], services={"worker": "idle", "sink": "idle"})
    stack.wait_ready()
    pids = [stack.pid_of(name) for name in ("valkey", "worker", "sink")]

    assert stack.stop(number) == 0

    ends = [line.split("name=")[1].split()[0] for line in stack.lines if "process_stopped" in line]
    assert set(ends[:2]) == {"worker", "sink"}
    assert ends[2:] == ["valkey"]
    assert sum("stopped as asked" in line for line in stack.lines) == 2
    assert not any(is_alive(pid) for pid in pids)
    assert not (stack.home / "run" / "status.json").exists()
    assert find_holder(stack.home / "run") is None


def test_a_service_that_does_not_stop_in_time_is_killed(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "deaf"}, stop_within_s=0.3)
    stack.read_until("deaf to SIGTERM")

    assert stack.stop() == 0
    assert any("process_stopped name=worker" in line and "signal=SIGKILL" in line for line in stack.lines)


def test_a_second_signal_does_not_wait_for_running_work(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "deaf"}, stop_within_s=600)
    stack.read_until("deaf to SIGTERM")
    stack.process.send_signal(signal.SIGTERM)
    stack.read_until("stack_stopping")

    assert stack.stop() == 0


def test_it_stops_on_sigterm_though_it_was_started_with_sigint_ignored(start_stack: StartStack) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack = start_stack(servers=["valkey"])
    finally:
        signal.signal(signal.SIGINT, before)
    stack.wait_ready()
    stack.process.send_signal(signal.SIGINT)

    assert stack.status().is_healthy
    assert stack.stop() == 0


def test_services_lead_their_own_group_and_have_default_signals(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "report_handlers"})

    stack.read_until(r'defaults=\["SIGINT", "SIGHUP"\] group_leader=true')


def test_a_crashing_service_is_logged_without_its_message_and_gives_up_the_start(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey"], services={"worker": "crash"})

    code = stack.wait()

    everything = "\n".join(stack.lines) + stack.errors
    assert code == 1
    assert "service_crashed error_type=ValueError" in everything
    assert ":crash:" in everything
    assert "somebody's secret" not in everything


def test_a_failed_migration_ends_the_start_with_its_own_words(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey"], migration="fail")

    assert stack.wait() == 1
    assert "the database is newer than this program (update)" in stack.errors
    assert not is_alive(stack.pid_of("valkey"))


def test_a_start_can_be_interrupted_while_it_migrates(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey"], migration="hang")
    stack.read_until("hanging")

    assert stack.stop() == 0
    assert not is_alive(stack.pid_of("valkey"))


def test_the_status_file_is_private_and_shows_no_password_in_public(start_stack: StartStack) -> None:
    stack = start_stack(servers=["valkey"])
    stack.wait_ready()

    path = stack.home / "run" / "status.json"
    password = (stack.home / "secrets" / "valkey_password").read_text()
    status = stack.status()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(process.name, process.state) for process in status.processes] == [
        ("valkey", "running"),
        ("worker", "running"),
    ]
    assert password in json.dumps(dict(status.urls))
    assert password not in json.dumps(status.public())
    assert stack.stop() == 0


def test_a_detached_stack_outlives_its_starter_and_is_stopped_from_outside(start_stack: StartStack) -> None:
    starter = start_stack(servers=["valkey"], detach=True)

    assert starter.wait() == 0
    assert starter.lines == ["everything runs"]
    status = starter.status()
    assert status.is_healthy
    assert os.getsid(status.pid or 0) != os.getsid(0)
    assert "stack_ready" in (starter.home / "logs" / "weir.log").read_text()

    assert stop_stack(starter.home / "run", within=10)
    wait_gone(status.pid or 0)
    assert not stop_stack(starter.home / "run", within=10)


def test_a_detached_stack_that_fails_says_why_and_is_gone(start_stack: StartStack) -> None:
    starter = start_stack(servers=["valkey"], migration="fail", detach=True)

    assert starter.wait() == 1
    assert "the database is newer than this program (update)" in starter.errors
    assert find_holder(starter.home / "run") is None


def test_a_detached_stack_is_refused_beside_another(start_stack: StartStack) -> None:
    first = start_stack()
    first.wait_ready()

    second = start_stack(detach=True)

    assert second.wait() == 1
    assert "a supervisor already runs" in second.errors
    assert first.stop() == 0
