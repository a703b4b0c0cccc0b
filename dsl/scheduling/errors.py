"""What is wrong with the timing of a schedule."""

from __future__ import annotations

from collections.abc import Iterable


class TimingInvalid(ValueError):
    """A key of a schedule that cannot mean what it says; whoever reads it knows where it stands.

    Attributes:
        key: Which one: `cron`, `every`, `at`, `anchor`, `timezone`, `jitter`, `window`.
        message: One sentence.
        expected: What should be there.
        known: Valid values of which the nearest is suggested.
    """

    def __init__(self, key: str, message: str, expected: str, known: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.expected = expected
        self.known = tuple(known)
