"""What a machine can get in the way: each is refused in a sentence with its code, and nothing is left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from fixtures.installations import Installation, awaited

from workers.stack.lock import find_holder


def refused(ran: subprocess.CompletedProcess[str], code: str, exit_code: int = 1) -> str:
    """That a command was refused; what it said."""
    assert ran.returncode == exit_code, ran.stderr
    assert ran.stdout == ""
    assert f"({code})" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "nobody foresaw" not in ran.stderr
    return ran.stderr


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"], ["status"], ["run", "todo.add"]], ids=" ".join)
def test_an_empty_home_is_not_the_current_folder(arguments: list[str], empty_installation: Installation) -> None:
    before = set(empty_installation.folder.iterdir())

    said = refused(empty_installation.weir(*arguments, WEIR_HOME=""), "settings.invalid")

    assert "WEIR_HOME = ''" in said
    assert set(empty_installation.folder.iterdir()) == before
    named = empty_installation.weir("status", "--home", "")
    assert named.returncode == 2
    assert "expected a folder" in named.stderr


@pytest.mark.parametrize("home", ["a-file", "round", "/proc/nowhere"])
@pytest.mark.parametrize("how", [["up"], ["up", "--detach"]], ids=["attached", "detached"])
def test_a_home_that_cannot_be_one_is_refused(home: str, how: list[str], empty_installation: Installation) -> None:
    (empty_installation.folder / "a-file").write_text("mine")
    (empty_installation.folder / "round").symlink_to("round")

    said = refused(empty_installation.weir(*how, "--port", "0", WEIR_HOME=home), "home.read_only")

    assert "Set WEIR_HOME to" in said
    assert (empty_installation.folder / "a-file").read_text() == "mine"


def test_a_home_below_links_that_lead_in_circles_has_no_stack(empty_installation: Installation) -> None:
    (empty_installation.folder / "round").symlink_to("round")

    refused(empty_installation.weir("status", WEIR_HOME="round"), "stack")


@pytest.mark.parametrize("how", [["up"], ["up", "--detach"]], ids=["attached", "detached"])
def test_a_second_stack_in_one_home_is_refused(how: list[str], installation: Installation) -> None:
    before = installation.status

    said = refused(installation.weir(*how, "--port", "0"), "stack.running")

    assert f"process {before.pid}" in said
    assert "weir down" in said
    assert installation.status == before


@pytest.mark.parametrize("how", [["up"], ["up", "--detach"], ["serve", "api"]], ids=" ".join)
def test_a_port_in_use_is_refused_with_servers_of_ones_own_too(
    how: list[str], database_url: str, redis_url: str, empty_installation: Installation
) -> None:
    own = {"WEIR_DATABASE_URL": database_url, "WEIR_REDIS_URL": redis_url, "WEIR_TELEMETRY_PSEUDONYM_KEY": "a key"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = empty_installation.weir(*how, **own, WEIR_API_PORT=port)

    assert ran.returncode == 1
    assert "(stack.address_in_use)" in ran.stderr
    assert f"127.0.0.1:{port} is in use by process {os.getpid()}" in ran.stderr
    assert find_holder(empty_installation.home / "run") is None


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://localhost", "settings.invalid"),
        ("redis://localhost:99999", "settings.invalid"),
        ("", "settings.invalid"),
        ("a wrong password", "redis.refused"),
        ("a database that is not there", "redis.refused"),
    ],
)
@pytest.mark.parametrize("how", [["serve", "worker"], ["up", "--port", "0", "--detach"]], ids=["process", "stack"])
def test_a_wrong_address_of_redis_is_refused_at_start(  # noqa: PLR0913 - pytest passes each by name
    address: str, code: str, how: list[str], database_url: str, installation: Installation, tmp_path: Path
) -> None:
    right = urlsplit(installation.status.urls["redis"])
    wrong = {
        "a wrong password": urlunsplit(right._replace(netloc=":planted-secret@")),
        "a database that is not there": urlunsplit(right._replace(query="db=999")),
    }
    given = {"WEIR_DATABASE_URL": database_url, "WEIR_REDIS_URL": wrong.get(address, address)}

    ran = installation.weir(*how, **given, WEIR_HOME=str(tmp_path / "home"), WEIR_TELEMETRY_PSEUDONYM_KEY="a key")

    assert ran.returncode == 1
    assert f"({code})" in ran.stderr
    assert "WEIR_REDIS_URL" in ran.stderr
    assert "planted-secret" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_process_starts_while_redis_is_away_and_says_so(database_url: str, empty_installation: Installation) -> None:
    given = {
        "WEIR_DATABASE_URL": database_url,
        "WEIR_REDIS_URL": "redis://:planted-secret@127.0.0.1:1/0",
        "WEIR_TELEMETRY_PSEUDONYM_KEY": "a key",
        "WEIR_LOG_FORMAT": "json",
    }
    with empty_installation.start_weir("serve", "worker", settings=given) as worker:
        assert worker.stderr is not None
        lines = [json.loads(worker.stderr.readline()) for _ in range(2)]
        awaited(lambda: _says(worker, "queue_is_away"))
        worker.send_signal(signal.SIGTERM)
        _, rest = worker.communicate(timeout=30)

    assert [line["event"] for line in lines] == ["redis_away", "service_started"]
    assert (lines[0]["code"], lines[0]["address"]) == ("telemetry.stream_unavailable", "127.0.0.1:1")
    assert "planted-secret" not in json.dumps(lines) + rest
    assert worker.returncode == 0


def _says(process: subprocess.Popen[str], event: str) -> bool:
    assert process.stderr is not None
    return event in process.stderr.readline() if select.select([process.stderr], [], [], 0)[0] else False
