"""Signals to processes that are certainly ours: a machine runs other things too, and numbers are used again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process, and all below it; parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = [pid]
    for member in found:  # grows while it is walked
        found.extend(children.get(member, ()))
    return found


class Gone(Exception):
    """There is no such process (any more)."""


class Handle:
    """A process by a descriptor: never another one that has got its number.

    Args:
        pid: Of a process of ours.
        home: What its environment or its working folder names: how we know that it is ours.

    Raises:
        Gone: It is not there, or not ours.
    """

    def __init__(self, pid: int, home: Path) -> None:
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise Gone(str(pid)) from error
        if not _is_ours(pid, home):
            self.close()
            raise Gone(str(pid))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def handle(pid: int, home: Path) -> Iterator[Handle]:
    """A handle for a moment."""
    held = Handle(pid, home)
    try:
        yield held
    finally:
        held.close()


def _is_ours(pid: int, home: Path) -> bool:
    folder = Path("/proc") / str(pid)
    mark = os.fsencode(home)
    try:
        return mark in (folder / "environ").read_bytes() or mark in os.fsencode((folder / "cwd").readlink())
    except OSError:  # it has ended
        return False
