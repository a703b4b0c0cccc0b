"""`weir up`, `status`, `down`, as a person types them, with everything real."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from fixtures.stacks import ROOT, eventually, is_alive, wait_gone, without_weir

from api.cli.services import SERVICES

Weir = Callable[..., subprocess.CompletedProcess[str]]

PROCESSES = ["postgres", "valkey", "api", "worker", "sink", "scheduler", "maintenance"]


@pytest.fixture
def weir(stack_home: Path, tmp_path: Path) -> Iterator[Weir]:
    """Runs `weir` in an empty folder; whatever it left running is stopped at the end."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "api.cli", *arguments],
            cwd=tmp_path,
            env={**without_weir(os.environ), "PYTHONPATH": str(ROOT), "WEIR_HOME": str(stack_home), **environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    yield run
    run("down", "--timeout", "0")


def _status(weir: Weir) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(weir("status", "--format", "json").stdout)
    return status


def _pid_of(status: dict[str, Any], name: str) -> int:
    return next(int(process["pid"]) for process in status["processes"] if process["name"] == name)


@pytest.mark.req("D-03", "S-14")
def test_up_status_and_down(weir: Weir, stack_home: Path) -> None:
    started = weir("up", "--detach", "--port", "0")
    assert started.returncode == 0, started.stderr
    assert "Weir is up." in started.stdout

    status = _status(weir)
    assert [process["name"] for process in status["processes"]] == PROCESSES
    assert {process["state"] for process in status["processes"]} == {"running"}
    assert status["urls"]["api"] in started.stdout
    assert status["home"] == str(stack_home)
    with urlopen(f"{status['urls']['api']}/healthz", timeout=10) as answer:  # noqa: S310 - our own API
        assert answer.status == 200
    shown = weir("status")
    assert shown.returncode == 0
    assert (stack_home / "secrets" / "valkey_password").read_text() not in shown.stdout + json.dumps(status)

    for name in SERVICES[1:]:
        said = weir("health", name)
        assert said.returncode == 0, said.stderr
    again = weir("up", "--detach")
    assert again.returncode == 1
    assert f"a supervisor already runs in {stack_home} (process {status['pid']}" in again.stderr

    ended = weir("down")
    assert (ended.returncode, ended.stdout) == (0, "Weir is down.\n")
    assert not any(is_alive(process["pid"]) for process in status["processes"])
    log = (stack_home / "logs" / "weir.log").read_text()
    assert "Traceback" not in log
    assert "SIGKILL" not in log


@pytest.mark.req("D-03")
def test_what_is_killed_comes_back_and_the_api_keeps_its_address(weir: Weir) -> None:
    assert weir("up", "--detach", "--port", "0").returncode == 0
    before = _status(weir)

    for name in ("postgres", "valkey", "api", "worker"):
        os.kill(_pid_of(before, name), signal.SIGKILL)

    def all_is_well() -> bool:
        after = _status(weir)
        return {process["state"] for process in after["processes"]} == {"running"} and all(
            _pid_of(after, name) != _pid_of(before, name) for name in ("postgres", "valkey", "api", "worker")
        )

    eventually(all_is_well)
    after = _status(weir)
    assert after["urls"] == before["urls"]
    assert {process["name"]: process["restarts"] >= 1 for process in after["processes"]}["api"]
    with urlopen(f"{after['urls']['api']}/healthz", timeout=10) as answer:  # noqa: S310 - our own API
        assert answer.status == 200


def test_everything_ends_with_a_killed_supervisor_and_the_next_start_works(weir: Weir) -> None:
    assert weir("up", "--detach", "--port", "0").returncode == 0
    before = _status(weir)

    os.kill(before["pid"], signal.SIGKILL)

    for process in before["processes"]:
        wait_gone(process["pid"])
    nothing = weir("status")
    assert nothing.returncode == 1
    assert "nothing is up" in nothing.stderr
    port = before["urls"]["api"].rpartition(":")[2]
    assert weir("up", "--detach", "--port", port).returncode == 0


def test_a_port_in_use_is_named_with_who_has_it_and_the_remedy(weir: Weir, stack_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = weir("up", "--detach", "--port", str(port))

    assert refused.returncode == 1
    assert f"127.0.0.1:{port} is in use by process {os.getpid()} (" in refused.stderr
    assert "--port" in refused.stderr
    assert weir("status").returncode == 1


def test_nothing_up_is_said_plainly(weir: Weir) -> None:
    status, down, migrate = weir("status"), weir("down"), weir("migrate")

    assert (status.returncode, down.returncode, migrate.returncode) == (1, 0, 1)
    assert "nothing is up in" in status.stderr
    assert "weir up" in status.stderr
    assert "Nothing was running in" in down.stdout
    assert _status(weir)["processes"] == []


def test_the_schema_is_migrated_by_hand_on_a_given_database(weir: Weir, empty_database_url: str) -> None:
    given = {"WEIR_DATABASE_URL": empty_database_url}

    before = weir("migrate", "--status", "--format", "json", **given)
    first, second = weir("migrate", **given), weir("migrate", **given)
    after = weir("migrate", "--status", **given)

    assert before.returncode == 1
    assert {item["state"] for item in json.loads(before.stdout)["items"]} == {"pending"}
    assert "applied 0001_" in first.stdout
    assert second.stdout == "The schema is up to date.\n"
    assert after.returncode == 0


@pytest.mark.req("D-03")
@pytest.mark.parametrize("name", ["api", "worker", "sink", "scheduler", "maintenance"])
def test_each_process_runs_by_itself_until_sigterm(
    name: str, database_url: str, redis_url: str, stack_home: Path, tmp_path: Path
) -> None:
    given = {
        "PYTHONPATH": str(ROOT),
        "WEIR_HOME": str(stack_home),
        "WEIR_DATABASE_URL": database_url,
        "WEIR_REDIS_URL": redis_url,
        "WEIR_TELEMETRY_PSEUDONYM_KEY": "of this test",
        "WEIR_API_PORT": "0",
    }
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "api.cli", "serve", name],
        cwd=tmp_path,
        env=os.environ | given,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        started = json.loads(process.stderr.readline())
        assert (started["process"], started["event"]) == (name, "service_started")
        if name == "api":
            with urlopen(f"{started['url']}/healthz", timeout=10) as answer:  # noqa: S310 - our own API
                assert answer.status == 200

        eventually(lambda: _handles_sigterm(process.pid))
        process.send_signal(signal.SIGTERM)

        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert '"level": "error"' not in errors


def _handles_sigterm(pid: int) -> bool:
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
