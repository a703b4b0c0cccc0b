"""From the bytes a process writes to whole, bounded, harmless lines."""

from __future__ import annotations

import json

from telemetry.clock import Clock

#: Bytes of one line that are kept; what is longer is cut, and says by how much.
MAX_LINE_BYTES = 16_384

# A terminal obeys control characters, and a log line is not the place to give it orders: all but the tab become "?".
_HARMLESS = bytes.maketrans(bytes([*range(9), *range(10, 32), 127]), b"?" * 32)

#: Colours of process names, in the order in which processes appear (ANSI SGR).
_PALETTE = (b"36", b"35", b"34", b"32", b"33", b"96", b"95", b"94")


class LineSplitter:
    """Cuts a stream of bytes into lines without their ends; keeps what is not yet a whole line, within bounds."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial = b""
        self._cut = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._grow(end)
            lines.append(self._take())
        self._grow(rest)
        return lines

    def finish(self) -> list[bytes]:
        """What was begun and will not be completed any more."""
        return [self._take()] if self._partial or self._cut else []

    def _grow(self, data: bytes) -> None:
        room = self._max_bytes - len(self._partial)
        self._partial += data[:room]
        self._cut += max(0, len(data) - room)

    def _take(self) -> bytes:
        line, cut = self._partial, self._cut
        self._partial, self._cut = b"", 0
        line = line.removesuffix(b"\r").translate(_HARMLESS)
        return line if not cut else line + b" ... (%d bytes cut)" % cut


class PrefixedLines:
    """`api         | what the process said`: for people."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._colours: dict[str, bytes] = {}

    def plain(self, process: str, line: bytes) -> bytes:
        """The line for a file."""
        return b"%s | %s\n" % (process.ljust(self._width).encode(), line)

    def coloured(self, process: str, line: bytes) -> bytes:
        """The line for a terminal: one colour per process."""
        colour = self._colours.setdefault(process, _PALETTE[len(self._colours) % len(_PALETTE)])
        return b"\x1b[%sm%s |\x1b[0m %s\n" % (colour, process.ljust(self._width).encode(), line)


class JsonLines:
    """One JSON object per line: what is one passes, what is not is wrapped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def plain(self, process: str, line: bytes) -> bytes:
        """The line for a file and for a terminal alike."""
        if line.startswith(b"{"):
            return line + b"\n"
        stamp = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = line.decode(errors="replace")
        return json.dumps({"timestamp": stamp, "process": process, "event": text}).encode() + b"\n"

    coloured = plain
