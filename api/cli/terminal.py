"""What the terminal can show: its width, its characters, colour; and texts made fit for it."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Columns assumed where nobody says: a pipe, a file.
PIPE_WIDTH = 100

_MS_PER_SECOND = 1000
_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3600
_SECONDS_PER_DAY = 86_400
_ONE_DECIMAL_BELOW = 10


@dataclass(frozen=True, slots=True)
class Marks:
    """The symbols used beside words; never instead of them."""

    succeeded: str
    failed: str
    skipped: str
    running: str
    ellipsis: str
    dot: str

    def of(self, outcome: str | None) -> str:
        """The symbol of a step's outcome or an execution's state."""
        if outcome == "succeeded":
            return self.succeeded
        if outcome in {"failed", "expired", "dead", "cancelled"}:
            return self.failed
        return self.skipped if outcome == "skipped" else self.running


UNICODE = Marks(succeeded="✓", failed="✗", skipped="○", running="▸", ellipsis="…", dot="·")
ASCII = Marks(succeeded="+", failed="x", skipped="-", running=">", ellipsis="...", dot="-")

_COLOURS = {"failed": "red", "skipped": "yellow", "succeeded": "green", "running": "cyan", "slow": "yellow"}


@dataclass(frozen=True, slots=True)
class Terminal:
    """One output stream.

    Attributes:
        width: Columns.
        interactive: Whether a person looks at it; a table is cut to the width only then.
        unicode: Whether its encoding has more than ASCII.
        colour: Whether to colour; off with `NO_COLOR`.
        stream: Where `say` says it; standard output if none.
    """

    width: int = 80
    interactive: bool = False
    unicode: bool = True
    colour: bool = False
    stream: TextIO | None = None

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Terminal:
        """What `stream` can show, given `COLUMNS`, `NO_COLOR` and `TERM`."""
        interactive = stream.isatty()
        given = environ.get("COLUMNS", "").isdecimal()
        width = shutil.get_terminal_size((80, 24)).columns if interactive or given else PIPE_WIDTH
        colour = interactive and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        encoding = (getattr(stream, "encoding", None) or "ascii").lower()
        return cls(width, interactive, encoding.startswith("utf"), colour, stream)

    @classmethod
    def of_stdout(cls) -> Terminal:
        """Standard output."""
        return cls.of_stream(sys.stdout)

    @classmethod
    def of_stderr(cls) -> Terminal:
        """Standard error: for what is said beside the result."""
        return cls.of_stream(sys.stderr)

    @classmethod
    def of_stream(cls, stream: TextIO) -> Terminal:
        """A stream of this process."""
        return cls.of(stream, os.environ)

    @property
    def marks(self) -> Marks:
        return UNICODE if self.unicode else ASCII

    def paint(self, text: str, tone: str) -> str:
        """The text in the colour of a tone: an outcome, `slow`, `dim` or `bold`."""
        if not self.colour:
            return text
        if tone in {"dim", "bold"}:
            return click.style(text, **{tone: True})
        colour = _COLOURS.get(tone)
        return click.style(text, fg=colour) if colour else text

    def say(self, text: str = "", tone: str = "") -> None:
        """One line; what the encoding lacks becomes `?`, never an error."""
        stream = self.stream or sys.stdout
        encoding = getattr(stream, "encoding", None) or "utf-8"
        shown = text.encode(encoding, "replace").decode(encoding)
        print(self.paint(shown, tone), file=stream, flush=True)


class Counter:
    """How many there are so far, on the last line of a terminal that a person looks at; nothing anywhere else.

    Args:
        terminal: Where.
        what: What is counted, in the plural.
    """

    #: Every how many the line changes: often enough to see that it goes on.
    _STEP = 50

    def __init__(self, terminal: Terminal, what: str) -> None:
        self._terminal = terminal
        self._what = what
        self._count = 0
        self._shown = ""

    def add(self) -> None:
        """One more."""
        self._count += 1
        if self._terminal.interactive and self._count % self._STEP == 0:
            self._write(f"{self._count:,} {self._what}")

    def clear(self) -> None:
        """Take the line away, before something else is said."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        stream = self._terminal.stream or sys.stderr
        stream.write(f"\r{pad(text, cells(self._shown))}" + ("" if text else "\r"))
        stream.flush()
        self._shown = text


def clean(text: str) -> str:
    """The text without anything that could steer a terminal: control and format characters become `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    return "?" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} else character


def cells(text: str) -> int:
    """Columns the text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """The text in at most `width` columns; what is cut is marked, if there is room to."""
    if cells(text) <= width:
        return text
    mark = ellipsis if cells(ellipsis) < width else ""
    room = width - cells(mark)
    kept = []
    for character in text:
        room -= _cell(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + mark


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled up with spaces to `width` columns."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def human_duration(duration_ms: float | None, *, unicode: bool = True) -> str:
    """A duration in the unit a person would say: `850 µs`, `4.2 ms`, `45 ms`, `1.3 s`, `2 min 5 s`, `264 d 8 h`."""
    if duration_ms is None:
        return ""
    if round(duration_ms, 3) < 1:
        return f"{round(duration_ms * 1000)} {'µs' if unicode else 'us'}"
    if round(duration_ms) < _MS_PER_SECOND:
        return f"{_number(duration_ms)} ms"
    seconds = duration_ms / 1000
    if round(seconds) < _SECONDS_PER_MINUTE:
        return f"{_number(seconds)} s"
    return _long(round(seconds))


def _long(seconds: int) -> str:
    if seconds < _SECONDS_PER_HOUR:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < _SECONDS_PER_DAY:
        return f"{seconds // _SECONDS_PER_HOUR} h {seconds % _SECONDS_PER_HOUR // 60} min"
    return f"{seconds // _SECONDS_PER_DAY} d {seconds % _SECONDS_PER_DAY // _SECONDS_PER_HOUR} h"


def _number(value: float) -> str:
    return f"{value:.1f}" if round(value, 1) < _ONE_DECIMAL_BELOW else f"{value:.0f}"


def plural(count: int, noun: str, several: str = "") -> str:
    """`1 step`, `2 steps`; `several` is the plural that is not made with an `s`."""
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"
