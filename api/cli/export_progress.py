"""How far an export is: one line that is written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

from telemetry.export.writing import Progress

_EVERY_US = 100_000
_NOW_AND_THEN_US = 10_000_000
_SECOND_US = 1_000_000


def human_bytes(count: int) -> str:
    """`4.2 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - of an SI prefix
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


class ProgressLine:
    """Says on standard error how far it is.

    Args:
        monotonic_us: The clock.
    """

    def __init__(self, monotonic_us: Callable[[], int]) -> None:
        self._clock = monotonic_us
        self._begun_us = self._said_us = monotonic_us()
        self._before: int | None = None
        self._is_terminal = sys.stderr.isatty()

    def tell(self, progress: Progress) -> None:
        """Say it, if it is time to."""
        now_us = self._clock()
        if self._before is None:
            # What was written by an earlier run tells nothing of this one's pace.
            self._before, self._begun_us = progress.rows, now_us
        if now_us - self._said_us < (_EVERY_US if self._is_terminal else _NOW_AND_THEN_US):
            return
        self._said_us = now_us
        line = self._line(progress, now_us)
        sys.stderr.write(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, progress: Progress, now_us: int) -> str:
        percent = 100 * progress.rows // progress.total if progress.total else 100
        said = f"{progress.rows} of {progress.total} rows ({percent} %), {human_bytes(progress.bytes)}"
        written, took_us = progress.rows - (self._before or 0), now_us - self._begun_us
        if written <= 0 or took_us <= 0:
            return said
        rate = written * _SECOND_US / took_us
        left_s = int((progress.total - progress.rows) / rate)
        return f"{said}, {rate:.0f} rows/s, {left_s // 60}:{left_s % 60:02d} left"
