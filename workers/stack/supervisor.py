"""The supervisor behind `weir up`: one thread, one loop over pipes, signals and timers, so that forking is safe.

Servers come first and must be ready; then the migrations run, in a child of their own; then the services are forked
from this process, which has imported all they need. What ends is started again. On SIGTERM (or SIGINT, SIGHUP) the
services are asked to stop, then the servers; a second signal does not wait for running work.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from telemetry.clock import Clock
from telemetry.errors import WeirError
from telemetry.logs import configure_logs
from workers.home import Home, writing
from workers.processes import EmbeddedServer, spawn
from workers.settings import ServerSettings
from workers.stack.errors import StartFailed
from workers.stack.fork import ForkedProcess, Lifeline, fork
from workers.stack.lines import JsonLines, PrefixedLines
from workers.stack.log_file import NAME as LOG_NAME
from workers.stack.log_file import LogFile
from workers.stack.loop import Loop
from workers.stack.output import Console, Output
from workers.stack.process import Supervised
from workers.stack.service import Service
from workers.stack.status import ProcessStatus, StackStatus, remove_status, write_status

#: Seconds that a server may take to become ready (recovering from a crash takes its time), and a service.
SERVER_READY_WITHIN = 120.0
SERVICE_READY_WITHIN = 60.0
#: How often something may end before it was ever ready, until the whole start is given up.
START_TRIES = 6
#: Seconds that servers may take to stop, and what was killed or hurried.
SERVER_STOP_WITHIN = 30.0
HURRIED_STOP_WITHIN = 5.0
#: Seconds to wait at the very end for a console that takes no more.
LAST_LINES_WITHIN = 1.0
#: Columns of the process name: the longest is `maintenance`.
NAME_WIDTH = 11
#: Names of the supervisor's own lines, and of the child that migrates.
SUPERVISOR, MIGRATIONS = "weir", "migrate"

#: The signal that does not wait for running work.
_HURRY = 2
#: What a pipe holds, and characters of a failed migration's words that fit into it for certain.
_PIPE_BYTES = 65_536
_REPORT_CHARACTERS = 1000

log = structlog.get_logger(__name__)


class Plan(Protocol):
    """What a stack is made of."""

    @property
    def servers(self) -> Sequence[EmbeddedServer]:
        """What to start first; none where URLs were given."""
        ...

    def migrate(self) -> None:
        """Runs in a child once the servers are ready; a WeirError ends the start and is shown."""
        ...

    def preload(self) -> None:
        """Import everything that the services need; called while the servers start."""
        ...

    def services(self) -> Sequence[Service]:
        """What to fork, once the servers are ready."""
        ...

    def urls(self) -> Mapping[str, str]:
        """`api`, `database`, `redis`, once the servers are ready."""
        ...

    def ready(self) -> str:
        """Called when everything runs; what it returns is shown on a console for people."""
        ...

    def stopping(self) -> None:
        """Called when it is about to stop: take no more work."""
        ...


class Closeable(Protocol):
    """What the supervisor holds and its children must not."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A started server, and how to ask it to stop."""

    process: subprocess.Popen[bytes]
    stop_signal: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.send_signal(self.stop_signal)


class Stack:
    """Runs a plan until it is told to stop. For one run.

    Args:
        settings: Log format, level and rotation; the folder of commands.
        home: Prepared, and locked by the caller.
        plan: What to run.
        clock: Time.
        console: Where lines are also shown; None in the background.
        stop_within: How long services may take to finish running work.
        withheld: Closed in every child.

    Raises:
        HomeUnwritable: There can be no log file.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        settings: ServerSettings,
        home: Home,
        plan: Plan,
        *,
        clock: Clock,
        console: Console | None,
        stop_within: timedelta,
        withheld: Sequence[Closeable] = (),
    ) -> None:
        self._settings = settings
        self._home = home
        self._plan = plan
        self._clock = clock
        self._commands_dir = str(settings.commands_dir.resolve())
        self._stop_within = stop_within.total_seconds()
        self._log_format = "json" if settings.log_format == "json" else "console"
        self._loop = Loop()
        self._lifeline = Lifeline()
        with writing(home.logs):
            file = LogFile(
                home.logs / LOG_NAME,
                max_bytes=settings.log_max_bytes,
                max_files=settings.log_files,
                max_age=timedelta(days=settings.log_days),
                clock=clock,
            )
        style = JsonLines(clock) if self._log_format == "json" else PrefixedLines(NAME_WIDTH)
        self._output = Output(self._loop.selector, file, style, console)
        self._withheld = (*withheld, self._output, self._loop)
        self._servers = [self._supervise_server(server) for server in plan.servers]
        self._services: list[Supervised] = []
        self._urls: Mapping[str, str] = {}
        self._published: StackStatus | None = None

    def run(self) -> bool:
        """Start, supervise, and stop when told to; returns once everything is gone: whether Ctrl-C was the reason.

        Raises:
            StartFailed: Something did not come up; what had, was stopped.
            WeirError: A server cannot be started here.
        """
        configure_logs(self._log_format, self._settings.log_level, SUPERVISOR, stream=self._output.writer(SUPERVISOR))
        try:
            with self._loop.noticing_signals():
                try:
                    if self._bring_up():
                        self._turn_until(self._is_told_to_stop)
                finally:
                    self._take_down()
        finally:
            self._lifeline.close()
            self._output.close()
            self._loop.close()
        return self._loop.is_interrupted

    def _bring_up(self) -> bool:
        """Start everything, in order; False when told to stop meanwhile."""
        log.info("stack_starting", home=self._home.root, pid=os.getpid())
        for server in self._servers:
            server.start()
        self._plan.preload()
        if not self._are_up(self._servers):
            return False
        self._urls = self._plan.urls()
        services = self._plan.services()
        gc.collect()
        gc.freeze()  # what was imported stays shared: no child's collector writes to it
        if not self._migrate():
            return False
        self._services = [self._supervise_service(service) for service in services]
        for service in self._services:
            service.start()
        if not self._are_up(self._services):
            return False
        log.info("stack_ready", api=self._urls.get("api"))
        self._tell_people(self._plan.ready())
        return True

    def _take_down(self) -> None:
        """Stop services, then servers; what does not stop in time is killed."""
        log.info("stack_stopping", hurried=self._is_hurried())
        self._plan.stopping()
        if self._is_told_to_stop() and not self._is_hurried():
            self._tell_people("Stopping. Once more (Ctrl-C) not to wait for running work.\n")
        self._stop(self._services, within=self._stop_within, hurried_within=0)
        self._stop(self._servers, within=SERVER_STOP_WITHIN, hurried_within=HURRIED_STOP_WITHIN)
        self._output.drain()
        log.info("stack_stopped")
        self._output.flush(LAST_LINES_WITHIN)
        remove_status(self._home.run)

    def _stop(self, group: Sequence[Supervised], *, within: float, hurried_within: float) -> None:
        are_gone = partial(_are_gone, group)
        for process in group:
            process.stop()
        self._turn_until(lambda: are_gone() or self._is_hurried(), within)
        if self._is_hurried():
            self._turn_until(are_gone, hurried_within)
        for process in group:
            process.kill()
        self._turn_until(are_gone, HURRIED_STOP_WITHIN)

    def _are_up(self, group: Sequence[Supervised]) -> bool:
        """Wait until all of them are ready; False when told to stop meanwhile.

        Raises:
            StartFailed: One of them ends again and again.
            WeirError: One of them can never start here.
        """

        def is_over() -> bool:
            for process in group:
                self._require_hope(process)
            return self._is_told_to_stop() or all(process.state == "running" for process in group)

        self._turn_until(is_over)
        return not self._is_told_to_stop()

    def _require_hope(self, process: Supervised) -> None:
        error = process.last_error
        if isinstance(error, WeirError) and not error.retryable:
            process.fail()
            raise error
        if process.early_ends >= START_TRIES:
            process.fail()
            why = f" ({error})" if error is not None else ""
            detail = f"{process.name} did not start, {START_TRIES} times in a row{why}"
            raise self._start_failed(process.name, detail) from error

    def _start_failed(self, name: str, detail: str) -> StartFailed:
        lines = self._output.last_lines(name)
        said = "; its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
        return StartFailed(detail + said, hint=f"{self._home.logs / LOG_NAME} has everything.", process=name)

    def _migrate(self) -> bool:
        """Run the migrations in a child, so that the loop goes on; False when told to stop meanwhile.

        Raises:
            StartFailed: With what they raised.
        """
        reading, writing = os.pipe()
        child = self._fork(MIGRATIONS, partial(_report_to, writing, self._plan.migrate))
        os.close(writing)
        try:
            self._turn_until(lambda: self._is_told_to_stop() or child.poll() is not None)
            child.stop()
            self._turn_until(lambda: child.poll() is not None)
            report = os.read(reading, _PIPE_BYTES)
        finally:
            os.close(reading)
        if child.returncode == 0 or self._is_told_to_stop():
            return not self._is_told_to_stop()
        if report:
            raise StartFailed(**json.loads(report))
        raise self._start_failed(MIGRATIONS, "the migrations failed")

    def _supervise_server(self, server: EmbeddedServer) -> Supervised:
        def start() -> ServerProcess:
            server.prepare()
            launch = server.launch()
            output = self._output.attach(server.name)
            try:
                return ServerProcess(spawn(launch, stdout=output, stderr=output), launch.stop_signal)
            finally:
                os.close(output)

        return Supervised(
            server.name, start, is_ready=server.is_ready, ready_within=SERVER_READY_WITHIN, clock=self._clock
        )

    def _supervise_service(self, service: Service) -> Supervised:
        return Supervised(
            service.name,
            partial(self._fork, service.name, service.run),
            is_ready=service.is_ready,
            ready_within=SERVICE_READY_WITHIN,
            clock=self._clock,
        )

    def _fork(self, name: str, run: Callable[[], None]) -> ForkedProcess:
        output = self._output.attach(name)
        try:
            return fork(run, output, partial(self._enter_child, name))
        finally:
            os.close(output)

    def _enter_child(self, name: str) -> None:
        self._lifeline.hold()
        for held in self._withheld:
            held.close()
        configure_logs(self._log_format, self._settings.log_level, name)

    def _turn_until(self, is_over: Callable[[], bool], within: float | None = None) -> None:
        """Let the loop turn, and supervise, until `is_over` or `within` seconds have passed."""
        deadline = None if within is None else time.monotonic() + within
        while True:
            everything = (*self._servers, *self._services)
            for process in everything:
                process.look()
            self._publish()
            left = None if deadline is None else deadline - time.monotonic()
            if is_over() or (left is not None and left <= 0):
                return
            waits = [left, *(process.wait() for process in everything)]
            self._loop.turn(min((wait for wait in waits if wait is not None), default=None))

    def _publish(self) -> None:
        processes = tuple(
            ProcessStatus(process.name, process.pid, process.state, _stamp(process), process.restarts)
            for process in (*self._servers, *self._services)
        )
        status = StackStatus(
            processes, dict(self._urls), self._commands_dir, home=str(self._home.root), pid=os.getpid()
        )
        if status == self._published:
            return
        self._published = status
        try:
            write_status(self._home.run, status)
        except OSError as error:
            log.warning("status_not_written", exc_info=error)

    def _tell_people(self, text: str) -> None:
        if self._log_format != "json":
            self._output.show(text)

    def _is_told_to_stop(self) -> bool:
        return self._loop.stop_requests > 0

    def _is_hurried(self) -> bool:
        return self._loop.stop_requests >= _HURRY


def _are_gone(group: Sequence[Supervised]) -> bool:
    return all(process.pid is None for process in group)


def _stamp(process: Supervised) -> str:
    return process.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _report_to(descriptor: int, migrate: Callable[[], None]) -> None:
    """In the child: hand what went wrong to the supervisor, whole, as a log line may not hold it."""
    try:
        migrate()
    except WeirError as error:
        report = {"detail": error.detail[:_REPORT_CHARACTERS], "hint": error.hint, "cause": error.code}
        with suppress(OSError):  # the supervisor is gone, and so is this process
            os.write(descriptor, json.dumps(report).encode())
        raise SystemExit(1) from error
