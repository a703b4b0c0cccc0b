"""Everything that runs: the servers, `weir up`, and a second worker and scheduler behind links of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from chaos.disk import Disk, spools
from chaos.event_facts import LEDGER_VIEW
from chaos.plan import SERVERS
from chaos.proxy import Link, Links
from chaos.recipes import SCHEMA, WEIR_TOML
from chaos.servers import NeverHappened, Server, wait_until
from fixtures.step_packages import install_module

from api.cli.services import SERVICES
from migrations.runner import migrate
from telemetry.connections import connect
from telemetry.settings import settings_of
from workers.embedded.places import read_port
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import POSTGRES_PASSWORD, VALKEY_PASSWORD, Home
from workers.processes import SERVER_ENVIRONMENT, EmbeddedServer, Launch, find_server_user, spawn
from workers.settings import WorkerSettings
from workers.stack.lock import find_holder
from workers.stack.status import StackStatus, read_status

_CHECKOUT = Path(__file__).parents[2]
_HERE = Path(__file__).parent

#: Seconds that the whole stack may take to come up, on a machine that is busy.
UP_WITHIN = 120.0
#: Seconds that what is asked to stop may take.
_STOP_WITHIN = 20.0

#: Settings of every process of the stack, beside those that a run decides.
_SETTINGS = {
    "WEIR_LOG_FORMAT": "json",
    "WEIR_LOG_MAX_BYTES": "200000000",
    "WEIR_WORKER_SCHEDULE_INTERVAL": "300ms",
    "WEIR_WORKER_SCHEDULE_GRACE": "500ms",
    # Deaths are what this is about: none of them is the command's fault.
    "WEIR_WORKER_MAX_DEATHS": "100",
    # Nor are the retries, however many.
    "WEIR_WORKER_RETRY_FLOOR": "1000000",
    # A stopped worker that goes on is to meet its fence, not its own impatience.
    "WEIR_WORKER_STUCK_AFTER": "60s",
    "WEIR_WORKER_SHUTDOWN_TIMEOUT": "3s",
    "WEIR_API_THREADS": "8",
}

#: Settings of recorders that have a spool: little memory, so that disk and drops have their turn too.
_SPOOLING = {"WEIR_TELEMETRY_BUFFER_MAX_EVENTS": "300"}

#: Settings of the reconciler, where there is one. Who is stopped for longer than this counts as gone, and comes back.
_RECONCILING = {
    "WEIR_WORKER_RECONCILE_INTERVAL": "2s",
    "WEIR_TELEMETRY_ALIVE_INTERVAL": "1s",
    "WEIR_TELEMETRY_PRODUCER_SILENCE": "5s",
}

#: What runs beside `weir up` unless a run says otherwise.
_BESIDE = {"worker-2": "worker", "scheduler-2": "scheduler", "sink-2": "sink"}


@dataclass(frozen=True, slots=True)
class Tempo:
    """How fast things go wrong and are noticed.

    Attributes:
        lease: Seconds of a worker's lease; beats and sweeps are fractions of it.
        threads: Executions that one worker runs at a time.
        beside: Services that the harness runs beside `weir up`, by name.
    """

    lease: float
    threads: int
    beside: Mapping[str, str] = field(default_factory=lambda: dict(_BESIDE))

    def settings(self) -> dict[str, str]:
        """As environment variables."""
        ms = round(self.lease * 1000)
        return {
            "WEIR_WORKER_LEASE": f"{ms}ms",
            "WEIR_WORKER_HEARTBEAT": f"{ms // 4}ms",
            "WEIR_WORKER_SWEEP_INTERVAL": f"{max(100, ms // 5)}ms",
            "WEIR_WORKER_THREADS": str(self.threads),
            "WEIR_DATABASE_POOL": str(max(10, self.threads + 2)),
        }


class Stack:
    """All processes of a run, in one folder. A context manager; from the main thread only.

    Args:
        root: An empty folder that every user can pass through.
        links: Where links live.
        tempo: How fast.
        commands: Text of command files, by name.

    Attributes:
        links: By name, as `chaos.plan.LINKS`.
        servers: By name, as `chaos.plan.SERVERS`.
        disk: Where recorders spool; none if they do not.
        port: Of the API, also after a restart.
    """

    def __init__(self, root: Path, links: Links, tempo: Tempo, commands: Mapping[str, str]) -> None:
        self.root = root
        self._commands = commands
        self._tempo = tempo
        self._command_files = root / "folder" / "commands"
        self._servers_home, self._home = Home(root / "servers"), Home(root / "home")
        self._stream_home = Home(root / "stream")  # a home has one Valkey
        homes = (self._servers_home, self._servers_home, self._stream_home)
        embedded: tuple[EmbeddedServer, ...] = (
            EmbeddedPostgres(homes[0]),
            EmbeddedValkey(homes[1]),
            EmbeddedValkey(homes[2]),
        )
        self.servers = {
            name: Server(server, root / f"{name}.log") for name, server in zip(SERVERS, embedded, strict=True)
        }
        self.links: dict[str, Link] = {
            f"{name}-link{ending}": links.open(partial(_address, home, server.name))
            for ending in ("", "-2")
            for name, home, server in zip(SERVERS, homes, embedded, strict=True)
        }
        self.disk = Disk(root / "spool") if spools() else None
        self.port = _free_port()
        self._up: subprocess.Popen[bytes] | None = None
        self._nursery: subprocess.Popen[str] | None = None
        self._beside: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def database_url(self) -> str:
        """Of Postgres itself, not of a link: how the harness looks."""
        return self.servers["postgres"].embedded.url

    @property
    def stream_url(self) -> str:
        """Of the telemetry's Valkey itself, not of a link."""
        return self.servers["stream"].embedded.url

    @property
    def logs(self) -> Sequence[Path]:
        """What the processes wrote, one JSON object a line."""
        return [*sorted(self._home.logs.glob("weir.log*")), self.root / "beside.log"]

    def write_commands(self, texts: Mapping[str, str]) -> None:
        """Write command files, by name: those that are there are replaced."""
        for name, text in texts.items():
            scratch = self.root / name
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(self._command_files / name)

    def status(self) -> StackStatus | None:
        """What the supervisor says of what it runs."""
        return read_status(self._home.run)

    def pids(self, name: str) -> list[int]:
        """Processes of a name of the plan; none while it is down. Of a server only the first of its processes."""
        if name in self.servers:
            pid = self.servers[name].pid
        elif name == "supervisor":
            pid = None if self._up is None or self._up.poll() is not None else self._up.pid
        elif name in self._tempo.beside:
            pid = self._beside.get(name)
        else:
            status = self.status()
            pid = None if status is None else next((each.pid for each in status.processes if each.name == name), None)
        return [] if pid is None else [pid]

    def start_beside(self, name: str) -> int:
        """Start, again, one of those that the harness runs; its process id."""
        nursery = self._nursery
        if nursery is None or nursery.stdin is None or nursery.stdout is None:
            raise NeverHappened("the nursery is not there")
        nursery.stdin.write(f"{self._tempo.beside[name]}\n")
        nursery.stdin.flush()
        self._beside[name] = int(nursery.stdout.readline())
        return self._beside[name]

    def start_servers(self) -> None:
        """Start those servers that are down."""
        for server in self.servers.values():
            server.start()

    def restart_up(self) -> None:
        """End `weir up` with all that it runs, if anything of it is there, and start it again: ready on return.

        Raises:
            NeverHappened: It does not come up.
        """
        self._end_up(signal.SIGKILL)
        wait_until(lambda: find_holder(self._home.run) is None, "the last supervisor is gone", UP_WITHIN)
        self._start_up()
        wait_until(self._is_up, "the stack is up", UP_WITHIN)

    def tend(self) -> None:
        """Start `weir up` again if it has ended; does not wait for it."""
        if self._up is not None and self._up.poll() is not None and find_holder(self._home.run) is None:
            self._start_up()

    def close(self) -> None:
        """Stop everything that was started; idempotent."""
        if self._nursery is not None:
            for name in list(self._beside):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._beside.pop(name), signal.SIGKILL)
            _close_pipes(self._nursery)
            self._nursery = None
        self._end_up(signal.SIGTERM)
        for server in self.servers.values():
            server.stop()
        if self.disk is not None:
            self.disk.close()

    def weir(self, *arguments: str, within: float) -> subprocess.CompletedProcess[str]:
        """Type `weir ...`, as people do, with the settings of the stack.

        Raises:
            subprocess.TimeoutExpired: It took longer than so many seconds.
        """
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "api.cli", *arguments],
            cwd=self.root / "folder",
            env=self._environment(""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def _begin(self) -> None:
        user = find_server_user()
        self._servers_home.prepare(user)
        self._stream_home.prepare(user)
        if self.disk is not None:
            self.disk.open()
        self._command_files.mkdir(parents=True)
        self.write_commands(self._commands)
        (self.root / "folder" / "weir.toml").write_text(WEIR_TOML, encoding="utf-8")
        (self.root / "site").mkdir()
        types = {"chaos.flaky": "Flaky", "chaos.write": "FlakyWrite", "chaos.linger": "Linger"}
        steps = (_HERE / "chaos_steps.py").read_text(encoding="utf-8")
        entry_points = {name: f"chaos_steps:{cls}" for name, cls in types.items()}
        install_module(self.root / "site", "chaos_steps", entry_points, steps)
        self.start_servers()
        migrate(self.database_url)
        with connect(self.database_url, name="weir chaos", autocommit=True) as connection:
            connection.execute((SCHEMA + LEDGER_VIEW).encode())
        self.restart_up()
        self._nursery = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(_HERE / "nursery.py"), str(self.root / "beside.log")],
            cwd=self.root / "folder",
            env=self._environment("-2"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for name in self._tempo.beside:
            self.start_beside(name)

    def _start_up(self) -> None:
        launch = Launch(
            argv=(sys.executable, "-m", "api.cli", "up", "--port", str(self.port)),
            stop_signal=signal.SIGTERM,
            env=self._environment(""),
            user=None,
            directory=self.root / "folder",
        )
        with (self.root / "up.log").open("ab") as log:
            self._up = spawn(launch, stdout=log, stderr=log)

    def _environment(self, ending: str) -> dict[str, str]:
        postgres, valkey, stream = (self.links[f"{name}-link{ending}"].port for name in SERVERS)
        passwords = self._servers_home.secret(POSTGRES_PASSWORD), self._servers_home.secret(VALKEY_PASSWORD)
        of_stream = self._stream_home.secret(VALKEY_PASSWORD)
        return {
            **SERVER_ENVIRONMENT,
            **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            "PYTHONPATH": os.pathsep.join((str(_CHECKOUT), str(self.root / "site"))),
            "WEIR_HOME": str(self._home.root),
            "WEIR_DATABASE_URL": f"postgresql://weir:{passwords[0]}@127.0.0.1:{postgres}/weir",
            "WEIR_REDIS_URL": f"redis://:{passwords[1]}@127.0.0.1:{valkey}/0",
            "WEIR_TELEMETRY_REDIS_URL": f"redis://:{of_stream}@127.0.0.1:{stream}/0",
            **_SETTINGS,
            **({} if self.disk is None else {**_SPOOLING, **self.disk.settings()}),
            **(_RECONCILING if reconciles() else {}),
            **self._tempo.settings(),
        }

    def _is_up(self) -> bool:
        code = None if self._up is None else self._up.poll()
        if code is not None:
            log = (self.root / "up.log").read_text(encoding="utf-8", errors="replace")
            raise NeverHappened(f"`weir up` ended with {code}:\n{log[-2000:]}")
        status = self.status()
        return status is not None and status.is_healthy and len(status.processes) == len(SERVICES)

    def _end_up(self, number: signal.Signals) -> None:
        up, self._up = self._up, None
        if up is None:
            return
        up.send_signal(signal.SIGCONT)
        up.send_signal(number)
        try:
            up.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def reconciles() -> bool:
    """Whether events are made again from their rows at all."""
    return "reconcile_interval" in {spec.name for spec in settings_of(WorkerSettings)}


def remove(root: Path) -> None:
    """The folder of a run that nobody needs any more."""
    shutil.rmtree(root)


def _address(home: Home, name: str) -> tuple[str, int]:
    return "127.0.0.1", read_port(home, name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _close_pipes(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
