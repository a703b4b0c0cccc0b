"""Work that goes on in the background, in a session of its own, after its starter heard that it is ready."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO, NoReturn

import structlog

from telemetry.errors import WeirError
from telemetry.logs import describe_exception
from workers.stack.errors import StartFailed

log = structlog.get_logger(__name__)


class Reporter:
    """The background end of the wire to the process that started it; what is said first counts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def begin(self) -> None:
        """Tell which process this is."""
        with suppress(BrokenPipeError):
            os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def ready(self, text: str) -> None:
        """It runs; `text` is shown to whoever started it."""
        self._say({"ready": text})

    def failed(self, error: BaseException) -> None:
        """It will not run."""
        if isinstance(error, WeirError):
            self._say({"detail": error.detail, "hint": error.hint, "cause": error.facts.get("cause", error.code)})
        else:
            facts = describe_exception(error)
            where = facts["error_frames"][-1:]
            self._say({"detail": f"an error nobody foresaw: {' at '.join([facts['error_type'], *where])}"})

    def close(self) -> None:
        """Say no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _say(self, answer: dict[str, object]) -> None:
        if self._descriptor < 0:
            return
        data = json.dumps(answer).encode()
        with suppress(BrokenPipeError):  # nobody waits for it any more
            while data:
                data = data[os.write(self._descriptor, data) :]
        self.close()


def run_in_background(work: Callable[[Reporter], None]) -> str:
    """Run `work` in a daemon, and wait until it says that it is ready; returns what it then says.

    The daemon has no terminal, input or output, and lives on in the current folder. Call it from a process with one
    thread.

    Raises:
        StartFailed: It failed, or ended, before it was ready.
        KeyboardInterrupt: The daemon was told to stop, and has stopped unless it was ready just then.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interrupt waits until we know whom to tell.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_daemon(work, Reporter(writing), mask)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        daemon = int(pipe.readline() or 0)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            answer = json.loads(pipe.read() or b"{}")
        except KeyboardInterrupt:
            _end(daemon, pipe)
            raise
    if "ready" in answer:
        return str(answer["ready"])
    if answer:
        raise StartFailed(**answer)
    raise StartFailed("it ended before it was ready, without a word", hint="Was it killed? Try without --detach.")


def _end(daemon: int, pipe: IO[bytes]) -> None:
    """Stop what is not wanted any more, and wait until it has."""
    with suppress(ProcessLookupError):
        if daemon:
            os.kill(daemon, signal.SIGTERM)
    pipe.read()


def _be_daemon(work: Callable[[Reporter], None], reporter: Reporter, mask: Iterable[int]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        if os.fork():  # not the leader of its session: it can never get a terminal
            os._exit(0)
        reporter.begin()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.close(nothing)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        work(reporter)
        code = 0
    except BaseException as error:
        log.critical("background_work_crashed", exc_info=error)
        reporter.failed(error)
    finally:
        os._exit(code)
