"""How far long work is: a bar on a terminal that a person looks at, a line every ten seconds anywhere else.

On standard error, beside the result. Something that ends sooner than the first line shows nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from api.cli.terminal import Terminal, cells, clean, clip, human_duration, pad

#: Seconds between two looks of a bar, and between two lines.
BAR_EVERY_S: Final = 0.1
LINE_EVERY_S: Final = 10.0
#: Columns of the bar itself, at most, and the fewest that are worth one.
_WIDEST, _NARROWEST = 30, 8
#: How long it has to go on before it is guessed how long it will: earlier guesses are wild.
_GUESS_AFTER_S = 2.0


class Progress:
    """What is shown of one piece of work. Made by `progress`.

    Args:
        label: What is done: "cleaning".
        total: How much there is to do; none when nobody knows.
        terminal: Where.
        shown: How an amount is written.
        clock: Seconds that only grow.

    Attributes:
        done: How much is.
    """

    def __init__(
        self, label: str, total: int | None, terminal: Terminal, shown: Callable[[int], str], clock: Callable[[], float]
    ) -> None:
        self.done = 0
        self._label = label
        self._total = total
        self._terminal = terminal
        self._shown = shown
        self._clock = clock
        self._began = self._last = clock()
        self._note = ""
        self._drawn = ""

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        self.done += amount
        self._look()

    def note(self, text: str) -> None:
        """What is being done just now, in a few words."""
        self._note = clean(text if self._terminal.unicode else text.encode("ascii", "replace").decode())
        self._look()

    def clear(self) -> None:
        """Show how far it came, and take the bar away."""
        if self._drawn:
            self._draw(self._bar(self._clock() - self._began))
            self._draw("")

    def _look(self) -> None:
        """Show it, unless that was a moment ago."""
        now = self._clock()
        if now - self._last < (BAR_EVERY_S if self._terminal.interactive else LINE_EVERY_S):
            return
        self._last = now
        if self._terminal.interactive:
            self._draw(self._bar(now - self._began))
        else:
            self._terminal.say(f"{self._label}: {', '.join(self._facts(now - self._began))}")

    def _facts(self, elapsed_s: float) -> list[str]:
        facts = []
        if self._total:
            facts.append(f"{self._shown(self.done)} of {self._shown(self._total)}")
            facts.append(f"{min(self.done / self._total, 1):.0%}")
            if 0 < self.done < self._total and elapsed_s >= _GUESS_AFTER_S:
                left_s = (self._total - self.done) * elapsed_s / self.done
                facts.append(f"{self._duration(left_s)} left")
        else:
            facts += [self._shown(self.done)] if self.done else []
            facts.append(self._duration(elapsed_s))
        return [*facts, self._note] if self._note else facts

    def _bar(self, elapsed_s: float) -> str:
        text = "  ".join(self._facts(elapsed_s))
        # The last column stays free: written to, some terminals begin a new line.
        width = self._terminal.width - 1
        room = min(width - cells(self._label) - cells(text) - 4, _WIDEST)
        if not self._total or room < _NARROWEST:
            return clip(f"{self._label}  {text}", width, self._terminal.marks.ellipsis)
        full, empty = ("█", "░") if self._terminal.unicode else ("#", ".")
        filled = room * min(self.done, self._total) // self._total
        return f"{self._label}  {full * filled}{empty * (room - filled)}  {text}"

    def _duration(self, seconds: float) -> str:
        return human_duration(round(seconds) * 1000, unicode=False) if seconds >= 1 else "1 s"

    def _draw(self, text: str) -> None:
        stream = self._terminal.stream or sys.stderr
        stream.write(f"\r{pad(text, max(cells(self._drawn), cells(text)))}" + ("" if text else "\r"))
        stream.flush()
        self._drawn = text


@contextmanager
def progress(
    label: str,
    total: int | None = None,
    *,
    shown: Callable[[int], str] = "{:,}".format,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show how far the work inside is; afterwards, also when it fails, nothing of a bar is left.

    Args:
        label: What is done: "cleaning".
        total: How much there is to do; none when nobody knows.
        shown: How an amount is written, `sized` for bytes.
        stream: Where; standard error if none.
        clock: Seconds that only grow.
    """
    bar = Progress(label, total, Terminal.of_stream(stream or sys.stderr), shown, clock)
    try:
        yield bar
    finally:
        bar.clear()


def sized(count: int) -> str:
    """Bytes in the unit a person would say: `512 B`, `12 kB`, `3.4 GB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if round(size) < _THOUSAND:
            return f"{size:.0f} {unit}"
        size /= _THOUSAND
    return f"{size:.1f} GB"


_THOUSAND: Final = 1000
