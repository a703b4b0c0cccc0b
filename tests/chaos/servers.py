"""Postgres and Valkey as processes of the harness: killed, stopped, and started again with the data they had."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

from workers.processes import EmbeddedServer, spawn

#: Seconds that a server may take to recover and answer.
READY_WITHIN = 90.0
#: Seconds that one may take to stop.
_STOP_WITHIN = 20.0
_LOOK_EVERY = 0.02


class NeverHappened(Exception):
    """What was waited for."""


def wait_until(is_so: Callable[[], bool], what: str, within: float) -> None:
    """Look until it is so.

    Raises:
        NeverHappened: It was not within so many seconds.
    """
    deadline = time.monotonic() + within
    pause = Event()
    while not is_so():
        if time.monotonic() > deadline:
            raise NeverHappened(f"{what}: not within {within:g} s")
        pause.wait(_LOOK_EVERY)


class Server:
    """One server. To be used from the main thread: the kernel ends the server with the thread that started it.

    Args:
        embedded: What it is.
        log: Its output.
    """

    def __init__(self, embedded: EmbeddedServer, log: Path) -> None:
        self.embedded = embedded
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process; none while it is down."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start it if it is down, and wait until it answers; idempotent.

        Raises:
            NeverHappened: It does not answer.
        """
        wait_until(self._answers, f"{self.embedded.name} answers", READY_WITHIN)

    def _answers(self) -> bool:
        """Whether it does; it is started if it is down, which it may be a moment after it was killed."""
        if self.pid is None:
            self.embedded.prepare()
            with self._log.open("ab") as output:
                self._process = spawn(self.embedded.launch(), stdout=output, stderr=output)
        return self.embedded.is_ready()

    def stop(self) -> None:
        """Stop it; idempotent."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.embedded.launch().stop_signal)
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
