"""Answers to costly queries, kept as long as they are true: in memory, bounded by their bytes, never stale.

An answer is kept with the view of the database that it was read in. It is given again only if no batch of events has
become visible since, and the partitions are the same ones; asking that costs one look at an index. So whoever stores or
removes events otherwise has to append a row to `telemetry_batches`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any, Final

from psycopg import Connection

from telemetry.clock import Clock
from telemetry.query import store_errors
from telemetry.sql import queries

SQL = queries(__file__)

#: Bytes that an entry takes beside its key and its answer, about.
_OVERHEAD: Final = 512


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What a cache did.

    Attributes:
        hits: Answers given again.
        misses: Answers that had to be made.
        entries: Answers that are kept.
        bytes: What they take.
    """

    hits: int
    misses: int
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: bytes
    view: str
    partitions: str
    made_us: int
    size: int


class QueryCache:
    """Keeps answers by the query they are to. For several threads at once.

    Args:
        max_bytes: Of all answers and their keys; 0 keeps none.
        ttl: How long an answer is kept at most.
        clock: Tells how old they are.
    """

    def __init__(self, max_bytes: int, ttl: timedelta, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._ttl_us = ttl // timedelta(microseconds=1)
        self._clock = clock
        self._lock = Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def answer(self, connection: Connection[Any], key: str, make: Callable[[], bytes]) -> bytes:
        """The answer to a query: one that is still true, or a new one.

        Two that ask the same at the same time may both make it.

        Args:
            connection: Inside a transaction with one view (`telemetry.reading`), in which `make` reads too.
            key: All that the answer depends on, except what is stored.
            make: Makes the answer, encoded.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        kept = self._kept(key)
        with store_errors():
            found = connection.execute(SQL["compare_views"], {"view": kept.view if kept else None}).fetchone()
        view, partitions, has_news = found or ("", "", True)
        if kept is not None and not has_news and kept.partitions == partitions:
            with self._lock:
                self._hits += 1
            return kept.answer
        answer = make()
        self._keep(key, answer, view, partitions)
        return answer

    def figures(self) -> CacheFigures:
        """What it did so far."""
        with self._lock:
            return CacheFigures(self._hits, self._misses, len(self._entries), self._bytes)

    def _kept(self, key: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if self._clock.monotonic_us() - entry.made_us >= self._ttl_us:
                self._forget(key)
                return None
            self._entries.move_to_end(key)
            return entry

    def _keep(self, key: str, answer: bytes, view: str, partitions: str) -> None:
        size = len(answer) + len(key.encode()) + len(view) + len(partitions) + _OVERHEAD
        with self._lock:
            self._misses += 1
            self._forget(key)
            if size > self._max_bytes:
                return
            self._entries[key] = _Entry(answer, view, partitions, self._clock.monotonic_us(), size)
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
