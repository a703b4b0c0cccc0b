"""What is measured against: embedded servers and processes of Weir, in a temporary home that goes away with them.

Everything is started tied to this process: if it is killed, they end too.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

from migrations.runner import migrate
from telemetry.connections import connect
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import Home
from workers.processes import SERVER_ENVIRONMENT, EmbeddedServer, Launch, find_server_user, spawn

#: Seconds that anything may take to start, and to stop.
PATIENCE_S = 60.0
#: What is measured: the code beside this harness, whatever else may be installed.
CHECKOUT = Path(__file__).parents[1]
#: Key of the hash that stands for users, wherever `weir up` did not make one.
PSEUDONYM_KEY = "a key for measurements"


class BenchmarkFailed(Exception):
    """What should be measured did not happen."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Running servers of a configuration as `weir up` starts them: durable, on disk.

    Attributes:
        home: Where they live; processes of Weir may live there too.
        database_url: A migrated database.
        redis_url: The first logical database.
    """

    home: Home
    database_url: str
    redis_url: str

    def new_database(self, name: str) -> str:
        """URL of another database on the same server, migrated and empty."""
        with connect(self.database_url, name="weir benchmarks", autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        url = urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))
        migrate(url)
        return url

    def logical_redis(self, number: int) -> str:
        """URL of another logical database on the same server, 1 to 15; empty unless used before."""
        parts = urlsplit(self.redis_url)
        if parts.scheme == "unix":
            return urlunsplit(parts._replace(query=f"db={number}"))
        return urlunsplit(parts._replace(path=f"/{number}"))


@contextmanager
def temporary_home() -> Iterator[Home]:
    """A home that the servers' user can reach; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="weir-bench-")).resolve()
    try:
        folder.chmod(0o711)
        yield Home(folder / "home")
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Postgres and Valkey in a temporary home, migrated."""
    with temporary_home() as home, ExitStack() as stack:
        home.prepare(find_server_user())
        postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
        for server in (postgres, valkey):
            _start_server(stack, server, home.logs / f"{server.name}.log")
        migrate(postgres.url)
        yield Servers(home, postgres.url, valkey.url)


@contextmanager
def running_valkey(servers: Servers, name: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """One more Valkey, in a home of its own beside that of the servers: its URL, and its process."""
    home = Home(servers.home.root.parent / name)
    home.prepare(find_server_user())
    valkey = EmbeddedValkey(home)
    with ExitStack() as stack:
        process = _start_server(stack, valkey, home.logs / f"{name}.log")
        yield valkey.url, process


@contextmanager
def running_process(
    home: Home, name: str, arguments: Sequence[str], environment: Mapping[str, str], python: str = sys.executable
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process, its lines in a log file of the home; asked to stop at the end, and waited for.

    Args:
        home: Prepared, or empty and made by the process itself.
        name: Of the log file.
        arguments: What Python is to run.
        environment: Added to what every server gets.
        python: Which Python.
    """
    launch = Launch(
        argv=(python, *arguments),
        stop_signal=signal.SIGTERM,
        env={**SERVER_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT), **environment},
        user=None,
        directory=home.root.parent,
    )
    with (home.root.parent / f"{name}.log").open("ab") as log:
        process = spawn(launch, stdout=log, stderr=log)
    try:
        yield process
    finally:
        _stop(process, launch.stop_signal)


@contextmanager
def running_service(
    servers: Servers, name: str, service: str, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """One process of Weir (`worker`, `sink`, ...), as `weir serve` runs it; `settings` are more of its environment."""
    environment = {
        "WEIR_HOME": str(servers.home.root),
        "WEIR_DATABASE_URL": servers.database_url,
        "WEIR_REDIS_URL": servers.redis_url,
        **(settings or {}),
    }
    with running_process(servers.home, name, ["-m", "api.cli", "serve", service], environment) as process:
        yield process


def wait_until(
    condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S, *, interval_s: float = 0.02
) -> None:
    """Ask again and again.

    Args:
        condition: Waited for until it returns something true.
        what: Named if it does not come true.
        patience_s: For how long.
        interval_s: How often.

    Raises:
        BenchmarkFailed: It did not come true in time.
    """
    pause, deadline = Event(), monotonic() + patience_s
    while not condition():
        if monotonic() > deadline:
            raise BenchmarkFailed(f"after {patience_s:g} s still not: {what}")
        pause.wait(interval_s)


def _start_server(stack: ExitStack, server: EmbeddedServer, log: Path) -> subprocess.Popen[bytes]:
    server.prepare()
    launch = server.launch()
    with log.open("ab") as output:
        process = spawn(launch, stdout=output, stderr=output)
    stack.callback(_stop, process, launch.stop_signal)
    wait_until(server.is_ready, f"{server.name} answers")
    return process


def _stop(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
