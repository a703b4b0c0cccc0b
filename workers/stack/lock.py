"""One supervisor per home: a lock that the kernel lets go of however its holder ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from telemetry.clock import Clock
from workers.home import writing
from workers.stack.errors import StackError, StackRunning

#: Seconds to try for the lock: whoever only looks whether it is held holds it for a moment.
_PATIENCE = 0.5
_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: Its process.
        since: When it took the lock; RFC 3339.
    """

    pid: int
    since: str


class SupervisorLock:
    """`run/supervisor.lock`, held as long as the `with` block runs; names its holder.

    Args:
        folder: The home's `run`.
        home: As it is shown.
        clock: Time.
    """

    def __init__(self, folder: Path, home: Path, clock: Clock) -> None:
        self._path = _path(folder)
        self._home = home
        self._clock = clock
        self._fd = -1

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            StackRunning: Another supervisor holds it.
            HomeUnwritable: There can be no such file.
        """
        with writing(self._path.parent):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(self._fd):
            self.close()
            raise _already_running(self._path.parent, self._home)
        since = self._clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; in a forked child, this drops the child's share only."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def find_holder(folder: Path) -> Holder | None:
    """Who supervises the home whose `run` folder this is; None when nobody does, whatever files were left behind."""
    try:
        fd = os.open(_path(folder), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StackError(
            f"{folder.parent} belongs to somebody else", hint="Set WEIR_HOME to a folder of your own."
        ) from error
    except OSError as error:
        raise StackError(
            f"{folder.parent} cannot be looked into: {error.strerror}", hint="Set WEIR_HOME to a folder of your own."
        ) from error
    deadline = time.monotonic() + _PATIENCE
    try:
        while not _try(fd, fcntl.LOCK_SH):
            holder = _read(fd)
            if holder is not None and (_is_alive(holder.pid) or time.monotonic() > deadline):
                return holder
            # It has just taken the lock and not yet written its name; or it was killed, and so will be a child that it
            # had just forked.
            time.sleep(_INTERVAL)
    finally:
        os.close(fd)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _path(folder: Path) -> Path:
    return folder / "supervisor.lock"


def _take(fd: int) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not _try(fd, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(_INTERVAL)
    return True


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> Holder | None:
    try:
        found = json.loads(os.pread(fd, 4096, 0))
        return Holder(int(found["pid"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _already_running(folder: Path, home: Path) -> StackRunning:
    holder = find_holder(folder)
    who = f" (process {holder.pid}, since {holder.since})" if holder else ""
    return StackRunning(
        f"a supervisor already runs in {home}{who}",
        hint="`weir status` shows it, `weir down` stops it; set WEIR_HOME to another folder for a second one.",
        home=str(home),
        pid=holder.pid if holder else None,
    )
