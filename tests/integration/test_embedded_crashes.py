"""Embedded servers in trouble: killed, orphaned, abandoned half-made, or already in somebody's hands."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fixtures.running import start_server

from telemetry.connections import connect, open_redis
from workers.embedded import places
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import Home
from workers.processes import ServerBusy, find_server_user

SUPERVISE = Path(__file__).with_name("supervise.py")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="watches processes through /proc")

#: Runs the rest of its arguments as user $2, who sees Python, our code and its libraries below $1, wherever they are.
AS_ANOTHER = """
mount --bind "$4" "$1/python" && mount --bind "$5" "$1/code" && mount --bind "$6" "$1/packages" || exit 77
export PYTHONPATH="$1/code:$1/code/tests:$1/packages" LD_LIBRARY_PATH="$1/python/lib"
folder=$1 user=$2 group=$3; shift 6
exec setpriv --reuid "$user" --regid "$group" --clear-groups "$folder/python/bin/python3" "$@"
"""


@pytest.fixture
def home(open_folder: Path) -> Home:
    made = Home(open_folder / "home")
    made.prepare(find_server_user())
    return made


@contextmanager
def supervisor(home: Home, *before: str) -> Iterator[subprocess.Popen[str]]:
    command = before or (sys.executable, str(SUPERVISE))
    process = subprocess.Popen(  # noqa: S603 - our own script
        [*command, str(home.root)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.communicate(timeout=30)  # ends its input, which ends it, unless that has happened already


def started_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    started: dict[str, Any] = json.loads(process.stdout.readline())
    return started


def wait_for_end(*pids: int, seconds: float = 20) -> None:
    """Wait until processes that are not our children have ended."""
    for pid in pids:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([watched], [], [], seconds)[0], f"process {pid} still runs"
        finally:
            os.close(watched)


@pytest.mark.req("D-03")
def test_servers_end_cleanly_with_a_supervisor_that_was_killed(home: Home) -> None:
    with supervisor(home) as process:
        started = started_by(process)
        with connect(started["postgres"]["url"], name="test") as connection:
            connection.execute("create table notes as select 'kept' as title")
        with open_redis(started["valkey"]["url"]) as client:
            client.set("title", "kept")
        process.kill()
        wait_for_end(started["postgres"]["pid"], started["valkey"]["pid"])

    assert (home.logs / "postgres.log").read_text(encoding="utf-8").rstrip().endswith("database system is shut down")
    assert "ready to exit" in (home.logs / "valkey.log").read_text(encoding="utf-8")
    with supervisor(home) as process:
        again = started_by(process)
        assert {name: facts["url"] for name, facts in again.items()} == {
            name: facts["url"] for name, facts in started.items()
        }
        with connect(again["postgres"]["url"], name="test") as connection:
            assert connection.execute("select title from notes").fetchone() == ("kept",)
        with open_redis(again["valkey"]["url"]) as client:
            assert client.get("title") == b"kept"


def test_a_second_supervisor_waits_for_the_servers_of_the_first_to_end(home: Home) -> None:
    with supervisor(home) as first:
        pids = [facts["pid"] for facts in started_by(first).values()]
        with supervisor(home) as second:
            first.kill()
            started = started_by(second)
            wait_for_end(*pids)
            assert not set(pids) & {facts["pid"] for facts in started.values()}


def test_servers_that_somebody_else_runs_are_not_touched(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_LEAVING_PATIENCE", 0.05)
    with supervisor(home) as process:
        started = started_by(process)
        for server in (EmbeddedPostgres(home), EmbeddedValkey(home)):
            with pytest.raises(ServerBusy, match="still works in") as raised:
                server.prepare()
            assert "weir status" in str(raised.value.hint)
            assert started[server.name]["pid"] in raised.value.facts["pids"]  # type: ignore[operator]
            assert server.is_ready()


@pytest.mark.req("D-03")
def test_a_killed_postgres_starts_again_with_all_that_was_committed(home: Home) -> None:
    server = EmbeddedPostgres(home)
    log = home.logs / "postgres.log"
    with ExitStack() as stack:
        first = start_server(stack, server, log)
        url = server.url
        with connect(url, name="test") as connection:
            connection.execute("create table notes as select generate_series(1, 1000) as number")
        first.kill()
        assert not server.is_ready()
        first.wait()

        start_server(stack, server, log)

        assert server.url == url
        with connect(url, name="test") as connection:
            assert connection.execute("select count(*) from notes").fetchone() == (1000,)


def test_a_killed_postgres_that_nobody_has_reaped_yet_starts_again(home: Home) -> None:
    """Its number still answers to kill(pid, 0), by which PostgreSQL would take it for alive."""
    server = EmbeddedPostgres(home, durable=False)
    log = home.logs / "postgres.log"
    with ExitStack() as stack:
        zombie = start_server(stack, server, log)
        zombie.kill()
        wait_for_end(zombie.pid)

        start_server(stack, server, log)

        assert server.is_ready()


@pytest.mark.req("D-03")
def test_a_killed_valkey_starts_again_with_all_that_was_acknowledged(home: Home) -> None:
    server = EmbeddedValkey(home)
    log = home.logs / "valkey.log"
    with ExitStack() as stack:
        first = start_server(stack, server, log)
        url = server.url
        with open_redis(url) as client:
            for number in range(1000):
                client.xadd("events", {"number": number})
        first.kill()
        assert not server.is_ready()
        first.wait()

        start_server(stack, server, log)

        assert server.url == url
        with open_redis(url) as client:
            assert client.xlen("events") == 1000


def test_a_stale_lock_naming_a_living_process_of_the_same_user_is_no_obstacle(home: Home) -> None:
    postgres, valkey = EmbeddedPostgres(home, durable=False), EmbeddedValkey(home, durable=False)
    with ExitStack() as stack:
        stranger = start_server(stack, valkey, home.logs / "valkey.log")
        killed = start_server(stack, postgres, home.logs / "postgres.log")
        killed.kill()
        killed.wait()
        for lock in (home.postgres / "data" / "postmaster.pid", *home.postgres.glob(".s.PGSQL.*.lock")):
            lines = lock.read_text(encoding="ascii").splitlines()
            lock.write_text("\n".join([str(stranger.pid), *lines[1:], ""]), encoding="ascii")

        start_server(stack, postgres, home.logs / "postgres.log")

        assert postgres.is_ready()
        assert valkey.is_ready()


def test_a_first_start_that_was_interrupted_is_done_again(home: Home) -> None:
    half_made = home.postgres / "data.new"
    (half_made / "base").mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n", encoding="ascii")

    with ExitStack() as stack:
        server = EmbeddedPostgres(home, durable=False)
        start_server(stack, server, home.logs / "postgres.log")
        assert server.is_ready()

    assert not half_made.exists()


def test_a_torn_last_write_of_valkey_is_no_obstacle(home: Home) -> None:
    server = EmbeddedValkey(home)
    log = home.logs / "valkey.log"
    with ExitStack() as stack:
        first = start_server(stack, server, log)
        with open_redis(server.url) as client:
            client.set("a", "1")
            client.set("b", "2")
            client.execute_command("WAITAOF", 1, 0, 5000)  # both are in the file: only the cut below loses one
        first.kill()
        first.wait()
        tail = next((home.valkey / "appendonlydir").glob("*.incr.aof"))
        with tail.open("r+b") as file:
            file.truncate(tail.stat().st_size - 3)

        start_server(stack, server, log)

        with open_redis(server.url) as client:
            assert client.get("a") == b"1"


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests are run as a plain user then")
@pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("setpriv")), reason="no way to become another user")
def test_a_plain_user_needs_nobody_else(open_folder: Path) -> None:
    nobody = find_server_user("nobody")
    assert nobody is not None
    for name in ("python", "code", "packages", "theirs"):
        (open_folder / name).mkdir(mode=0o755)
    os.chown(open_folder / "theirs", nobody.uid, nobody.gid)
    home = Home(open_folder / "theirs" / "home")
    become = ["unshare", "-m", "/bin/sh", "-c", AS_ANOTHER, "sh", str(open_folder), str(nobody.uid), str(nobody.gid)]
    places_of = [sys.base_prefix, str(ROOT), sysconfig.get_path("purelib")]
    script = str(open_folder / "code" / SUPERVISE.relative_to(ROOT))

    if subprocess.run(["unshare", "-m", "mount", "--bind", "/", open_folder / "code"], check=False).returncode:  # noqa: S603, S607 - a trial
        pytest.skip("no mounts here")
    with supervisor(home, *become, *places_of, script) as process:
        started = started_by(process)
        for facts in started.values():
            assert Path(f"/proc/{facts['pid']}").stat().st_uid == nobody.uid
        for path in (home.root, *home.root.iterdir()):
            found = path.stat()
            assert (path, found.st_mode & 0o777, found.st_uid) == (path, 0o700, nobody.uid)
        process.kill()
        wait_for_end(*(facts["pid"] for facts in started.values()))


def test_nothing_is_signalled_that_is_not_ours(home: Home) -> None:
    """A process that merely stands in the folder is waited for, never ended."""
    bystander = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, cwd=home.valkey)
    with bystander, pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "_LEAVING_PATIENCE", 0.05)
        with pytest.raises(ServerBusy):
            EmbeddedValkey(home).prepare()
        assert bystander.poll() is None
        bystander.send_signal(signal.SIGKILL)
