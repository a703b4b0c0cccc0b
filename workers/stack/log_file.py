"""The file that all lines go to: bounded by bytes, by number of files, and by the age of what is in them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from telemetry.clock import Clock, from_unix_us

#: Name of the file that is written, in the folder of logs; older ones have a number behind it.
NAME: Final = "weir.log"

_DAY_US: Final = 86_400_000_000
_FOR_LINES: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogFile:
    """A file that is renamed to `.1`, `.2`, ... when it is full, and when a new day has begun in UTC.

    A renamed one goes when there are too many, or when its last line is too old. That is seen to whenever one is
    renamed, and when the file is opened: processes that run write at least every few minutes.

    A disk that takes no more must not stop the supervisor: lines are then counted, and the count is written
    as soon as writing works again.

    Args:
        path: The file being written; created with mode 0600.
        max_bytes: Its size at most.
        max_files: How many renamed ones are kept.
        max_age: How old the last line of a renamed one may become.
        clock: Says what day it is.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_files: int, max_age: timedelta, clock: Clock) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._max_age_us = max_age // timedelta(microseconds=1)
        self._clock = clock
        self._lost = 0
        self._fd, self._size, self._day = self._open()
        self._forget_old()

    def write(self, data: bytes) -> None:
        """Append whole lines; never blocks on anything but the disk, never raises."""
        notice = b"(%d lines could not be written)\n" % self._lost if self._lost else b""
        try:
            if self._size and self._today() > self._day:
                self._rotate()
            self._append(notice + data)
        except OSError:
            self._lost += data.count(b"\n")
        else:
            self._lost = 0

    def close(self) -> None:
        """Close the file; what is written afterwards is lost."""
        os.close(self._fd)
        self._fd = -1

    def _append(self, data: bytes) -> None:
        while data:
            room = self._max_bytes - self._size
            fitting = len(data) if len(data) <= room else data.rfind(b"\n", 0, max(0, room)) + 1
            if not fitting and self._size:
                self._rotate()
                continue
            written = os.write(self._fd, data[:fitting] if fitting else data)
            self._size += written
            data = data[written:]

    def _open(self) -> tuple[int, int, int]:
        """The file, its size, and the day of its last line; of an empty one, today."""
        fd = os.open(self._path, _FOR_LINES, 0o600)
        found = os.fstat(fd)
        return fd, found.st_size, found.st_mtime_ns // 1000 // _DAY_US if found.st_size else self._today()

    def _rotate(self) -> None:
        """Begin a new file, which is made first: if each try that fails renamed all, every older one would be lost."""
        beside = self._path.with_name(f"{self._path.name}.new")
        empty = os.open(beside, _FOR_LINES | os.O_TRUNC, 0o600)
        try:
            for number in range(self._max_files, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
                if newer.exists():
                    newer.replace(older)
            beside.replace(self._path)
        except OSError:
            os.close(empty)
            raise
        os.close(self._fd)
        self._fd, self._size, self._day = empty, 0, self._today()
        self._forget_old()

    def _forget_old(self) -> None:
        """Delete renamed ones whose last line is too old, and those that a smaller number of files has left over."""
        horizon_us = self._clock.unix_us() - self._max_age_us
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            number = path.name.removeprefix(f"{self._path.name}.")
            if not number.isdecimal():
                continue
            with suppress(OSError):  # a folder that lets nothing be deleted: it is tried again with the next one
                if int(number) > self._max_files or path.stat().st_mtime_ns // 1000 < horizon_us:
                    path.unlink()

    def _today(self) -> int:
        return self._clock.unix_us() // _DAY_US


@dataclass(frozen=True, slots=True)
class LogFiles:
    """What a folder of logs holds.

    Attributes:
        files: How many.
        bytes: Of all of them.
        oldest_at: When the one that was ended first had its last line; None if there are none.
    """

    files: int
    bytes: int
    oldest_at: datetime | None


def measure(folder: Path) -> LogFiles:
    """Look at the log files of a folder; there are none where it is not there.

    Raises:
        OSError: It cannot be looked into.
    """
    sizes, times = [], []
    for path in folder.glob(f"{NAME}*"):
        with suppress(FileNotFoundError):  # renamed meanwhile
            found = path.stat()
            sizes.append(found.st_size)
            times.append(found.st_mtime_ns // 1000)
    return LogFiles(len(sizes), sum(sizes), from_unix_us(min(times)) if times else None)
