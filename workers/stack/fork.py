"""Services are forked from the supervisor, which has imported all they need: memory is shared, and starting is fast."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ForkedProcess:
    """A forked child and its process group; its parent's handle to it."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended (negative: the signal), reaping it; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def stop(self) -> None:
        """Ask it to stop, by SIGTERM to itself and not to what it started; nothing happens if it ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class Lifeline:
    """Ties forked children to the life of this process, even if it is killed.

    On Linux the kernel does it. Elsewhere children wait, in a thread, for the end of a pipe whose other end only this
    process holds. They are killed, not asked: what they need is going down with their parent at the same moment, and
    whoever starts the next supervisor must not find them still holding the API's port.
    """

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._reading, self._writing = os.pipe()

    def hold(self) -> None:
        """To be called first in a child."""
        os.close(self._writing)
        if sys.platform == "linux":
            os.close(self._reading)
            die_with(self._parent)
        else:
            threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

    def close(self) -> None:
        """In the parent, once all children are gone."""
        os.close(self._reading)
        os.close(self._writing)

    def _wait(self) -> None:
        os.read(self._reading, 1)
        os.killpg(0, signal.SIGKILL)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; Linux only, elsewhere nothing happens.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel knew that we care
        os.kill(os.getpid(), signal.SIGKILL)


def fork(run: Callable[[], None], output: int, enter: Callable[[], None]) -> ForkedProcess:
    """Run a function in a child process with a process group of its own.

    Call it from a process with one thread. The child ends with code 0 when `run` returns, and with 1, and a log line,
    when it raises. Handlers of `atexit` are not run: they belong to the parent.

    Args:
        run: The child's whole work.
        output: Descriptor of the child's standard output and error.
        enter: Called in the child before anything else: lets go of what belongs to the parent, sets up logging.

    Raises:
        RuntimeError: There is another thread, whose locks the child would inherit for ever.
    """
    if threading.active_count() > 1:
        raise RuntimeError(f"cannot fork beside other threads: {threading.enumerate()}")
    _flush()
    # Until the child has its own handlers, a signal would run the parent's there, and wake the parent through the
    # descriptor they share: hold all signals back meanwhile.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(run, output, enter)
        with suppress(ProcessLookupError, PermissionError):  # it was faster, or it is gone
            os.setpgid(pid, pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return ForkedProcess(pid)


def _be_child(run: Callable[[], None], output: int, enter: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        _take_output(output)
        _reset_signals()
        enter()
        code = _run(run)
    except BaseException as error:  # noqa: BLE001 - the child must not go on as a second parent
        os.write(2, f"{type(error).__qualname__} before the service began\n".encode())
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()


def _take_output(output: int) -> None:
    """Standard output and error by line, whatever the parent's objects of these names were; no input."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in {nothing, output} - {0, 1, 2}:
        os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115 - for good
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115 - for good


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _run(run: Callable[[], None]) -> int:
    try:
        run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        log.critical("service_crashed", exc_info=error)
        return 1
    return 0
