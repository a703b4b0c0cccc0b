"""One readable log stream: what all processes write goes to a rotated file, and to the console if there is one.

Memory is bounded by back-pressure: while the console does not take what it is given (a terminal on hold, a slow pipe),
processes are not read, so a process that floods waits in its own `write`. The supervisor itself never waits here.
"""

from __future__ import annotations

import io
import os
import select
import selectors
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from workers.stack.lines import LineSplitter
from workers.stack.log_file import LogFile

#: Bytes read from one process at a time: the size of a pipe on Linux.
READ_BYTES = 65_536

#: Bytes that may wait for the console before processes are no longer read.
CONSOLE_BACKLOG_BYTES = 262_144

#: Lines of each process that are remembered, to be shown when it does not start.
REMEMBERED_LINES = 20

# What a pipe that polls as writable takes without blocking.
_CHUNK_BYTES = select.PIPE_BUF


class LineStyle(Protocol):
    """How a line looks: in the file, and on a console with colours."""

    def plain(self, process: str, line: bytes) -> bytes: ...
    def coloured(self, process: str, line: bytes) -> bytes: ...


class Console:
    """Standard output that never makes its writer wait: what it does not take at once is kept, and counted.

    Args:
        fd: Where to write; a terminal, a pipe or a file. Its flags are not touched: other processes share them.
        coloured: Whether lines are shown in their coloured form.
    """

    def __init__(self, fd: int, *, coloured: bool) -> None:
        self.coloured = coloured
        self._given = fd
        self.fd = _reopen_terminal(fd)
        self._waiting = bytearray()
        self._broken = False

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return len(self._waiting)

    def write(self, data: bytes) -> None:
        """Show `data`, now if the other side takes it, else with a later `flush`."""
        if not self._broken:
            self._waiting += data
            self.flush()

    def flush(self, timeout: float = 0) -> None:
        """Write what waits while the other side takes it; each time, wait for it at most `timeout` seconds."""
        while self._waiting and select.select([], [self.fd], [], timeout)[1]:
            try:
                written = os.write(self.fd, self._waiting[:_CHUNK_BYTES])
            except BlockingIOError:
                return
            except OSError:  # nobody reads any more (`weir up | head`): the file still has everything
                self._broken = True
                self._waiting.clear()
                return
            del self._waiting[:written]

    def close(self) -> None:
        """Give back what was opened here; the given descriptor stays."""
        if self.fd != self._given:
            os.close(self.fd)


def _reopen_terminal(fd: int) -> int:
    """A terminal polls as writable and may block all the same: write to an own, non-blocking opening of it."""
    if os.isatty(fd):
        try:
            return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return fd  # somebody else's terminal (after `su`): it still works, as for any other program
    return fd


class Output:
    """Takes what processes write, and hands it on as lines.

    Args:
        selector: The supervisor's; each registered file's `data` is called, without arguments, when it is ready.
        file: Where every line goes.
        style: How lines look.
        console: Where lines are also shown.
    """

    def __init__(
        self, selector: selectors.BaseSelector, file: LogFile, style: LineStyle, console: Console | None
    ) -> None:
        self._selector = selector
        self._file = file
        self._style = style
        self._console = console
        self._sources: dict[int, tuple[str, LineSplitter]] = {}
        self._remembered: dict[str, deque[str]] = {}
        self._paused = False
        self._console_watched = False

    def attach(self, process: str) -> int:
        """A new pipe whose lines are those of `process`; returns its writing end, which the caller closes."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._sources[reading] = (process, LineSplitter())
        self._remembered.pop(process, None)
        if not self._paused:
            self._watch(reading)
        return writing

    def writer(self, process: str) -> io.TextIOBase:
        """A text stream for the supervisor's own lines."""
        return _Writer(lambda text: self._emit(process, text.encode(errors="replace").splitlines()))

    def show(self, text: str) -> None:
        """Put text on the console as it is; not in the file."""
        if self._console is not None:
            self._console.write(text.encode(errors="replace"))
            self._balance()

    def last_lines(self, process: str) -> list[str]:
        """What the process said last since it was last attached, oldest first."""
        return list(self._remembered.get(process, ()))

    def drain(self) -> None:
        """Once all processes are gone: take what is left in their pipes."""
        for source in list(self._sources):
            while source in self._sources and self._read(source):
                pass  # bounded by what a pipe holds: nobody writes any more

    def flush(self, timeout: float) -> None:
        """Wait up to `timeout` seconds at a time for the console to take what waits for it."""
        if self._console is not None:
            self._console.flush(timeout)

    def close(self) -> None:
        """Close all that was opened here; in a forked child, this closes the child's copies."""
        for source in self._sources:
            os.close(source)
        self._sources.clear()
        self._file.close()
        if self._console is not None:
            self._console.close()

    def _watch(self, source: int) -> None:
        self._selector.register(source, selectors.EVENT_READ, lambda: self._read(source))

    def _read(self, source: int) -> bool:
        """Read once; whether there was something."""
        process, splitter = self._sources[source]
        try:
            data = os.read(source, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._emit(process, splitter.feed(data))
            return True
        self._emit(process, splitter.finish())
        self._forget(source)
        return False

    def _forget(self, source: int) -> None:
        if not self._paused:
            self._selector.unregister(source)
        del self._sources[source]
        os.close(source)

    def _emit(self, process: str, lines: Iterable[bytes]) -> None:
        lines = list(lines)
        if not lines:
            return
        remembered = self._remembered.setdefault(process, deque(maxlen=REMEMBERED_LINES))
        remembered.extend(line.decode(errors="replace") for line in lines[-REMEMBERED_LINES:])
        self._file.write(b"".join(self._style.plain(process, line) for line in lines))
        if self._console is not None:
            look = self._style.coloured if self._console.coloured else self._style.plain
            self._console.write(b"".join(look(process, line) for line in lines))
            self._balance()

    def _balance(self) -> None:
        """Stop reading processes while the console has too much waiting, and go on when it has not."""
        if self._console is None:
            return
        backlog = self._console.backlog
        if self._console_watched != (backlog > 0):
            self._console_watched = backlog > 0
            if self._console_watched:
                self._selector.register(self._console.fd, selectors.EVENT_WRITE, self._flush)
            else:
                self._selector.unregister(self._console.fd)
        if not self._paused and backlog > CONSOLE_BACKLOG_BYTES:
            self._paused = True
            for source in self._sources:
                self._selector.unregister(source)
        elif self._paused and backlog < CONSOLE_BACKLOG_BYTES // 2:
            self._paused = False
            for source in self._sources:
                self._watch(source)

    def _flush(self) -> None:
        if self._console is not None:
            self._console.flush()
            self._balance()


class _Writer(io.TextIOBase):
    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit

    def write(self, text: str) -> int:
        self._emit(text)
        return len(text)
