"""The telemetry stream as somebody follows it who is not of the group: nothing is taken from those who store it.

Entries are counted as they are read, and Redis counts those that were ever appended: so it is known whether any were
trimmed before they were read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from redis import Redis
from redis.exceptions import ResponseError

from telemetry.stream import FIELD, Entry, order, redis_errors

#: Entries that are read at a time.
PAGE: Final = 500
_NO_STREAM: Final = "no such key"
_BEGINNING: Final = b"0-0"


class StreamTail:
    """Follows a stream. Made for one thread.

    Args:
        commands: A client for commands that answer at once; fails fast.
        blocking: A client whose socket is patient for longer than any `block`.
        key: Of the stream.
    """

    def __init__(self, commands: Redis, blocking: Redis, key: str) -> None:
        self._commands = commands
        self._blocking = blocking
        self._key = key
        self._last = _BEGINNING
        self._read_count = 0

    def whole(self) -> tuple[list[Entry], list[Entry]] | None:
        """All that the stream holds, and go on after it; none, and stay, if that is more than a page.

        What it does not hold any more was stored before this call.

        Returns:
            What was read before, and what was not.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        entries, added, length, last = self._look(_BEGINNING)
        if length > len(entries):
            return None
        known = sum(order(entry.id) <= order(self._last) for entry in entries)
        self._last, self._read_count = last, added
        return entries[:known], entries[known:]

    def skip(self) -> None:
        """Go on after what the stream holds.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        _, self._read_count, _, self._last = self._look(_BEGINNING, 1)

    def read(self, block: timedelta | None = None) -> list[Entry]:
        """At most a page of what comes next; waits up to `block` for the first, or not at all.

        If nothing comes it may take a tenth of a second longer: Redis looks only so often who has waited long enough.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        block_ms = None if block is None else max(1, block // timedelta(milliseconds=1))
        with redis_errors():
            found: Any = self._blocking.xread({self._key: self._last}, count=PAGE, block=block_ms)
        return self._taken(_entries(found))

    def audit(self) -> tuple[list[Entry], bool]:
        """At most a page of what is there, and whether any entry was trimmed before it was read.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        found, added, _, _ = self._look(self._last)
        entries = self._taken(found)
        if len(entries) == PAGE:
            return entries, False
        return entries, added != self._read_count

    def close(self) -> None:
        """Close the connections."""
        self._blocking.close()
        self._commands.close()

    def _taken(self, entries: list[Entry]) -> list[Entry]:
        if entries:
            self._last = entries[-1].id
            self._read_count += len(entries)
        return entries

    def _look(self, after: bytes, count: int = PAGE) -> tuple[list[Entry], int, int, bytes]:
        """Entries after one; how many were ever added, how many there are, and the last id: all at one moment."""
        with redis_errors():
            pipeline = self._commands.pipeline(transaction=True)
            pipeline.xread({self._key: after}, count=count)
            pipeline.xinfo_stream(self._key)
            found, facts = pipeline.execute(raise_on_error=False)
            for answered in (found, facts):
                if isinstance(answered, Exception) and not (
                    isinstance(answered, ResponseError) and _NO_STREAM in str(answered)
                ):
                    raise answered
        if isinstance(facts, Exception):
            return [], 0, 0, _BEGINNING
        return _entries(found), int(facts["entries-added"]), int(facts["length"]), facts["last-generated-id"]


def _entries(found: Any) -> list[Entry]:  # noqa: ANN401 - of redis-py
    entries: Sequence[Any] = found[0][1] if found else []
    return [Entry(entry_id, fields.get(FIELD) if fields else None) for entry_id, fields in entries]
