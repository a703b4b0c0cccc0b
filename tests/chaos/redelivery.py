"""Forced redelivery: entries of the stream come again, though nobody asked for them.

Two ways, both of which happen: an entry is appended a second time, as by a producer that heard no answer and tried once
more; and the group is set back, so that entries which are stored, or being stored, are delivered as new ones.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from datetime import timedelta
from itertools import count
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from telemetry.connections import open_blocking_redis
from telemetry.stream import GROUP

#: How long one look for new entries may take; how long a stream that is away is left alone, in seconds.
_BLOCK_MS, _PAUSE_S = 100, 0.2
_AT_ONCE = 500
#: Of how many entries one sets the group back, and by how many.
_SET_BACK_EVERY, _SET_BACK_BY = 40, 5
#: An entry is appended again this many seconds later, at most: when its first delivery is long trimmed away.
_LATER_S = 3.0
_FIELD = b"b"


class Redelivery:
    """A thread that has a share of all entries delivered twice; a context manager.

    Args:
        url: Of the stream's server itself.
        stream: Key of the stream.
        share: Of the entries, 0 to 1, that are appended once more.
        seed: Of chance.

    Attributes:
        entries: That it saw, without its own.
        again: Of them, those it appended once more.
        set_back: Entries that were delivered once more because the group was set back.
    """

    def __init__(self, url: str, stream: str, *, share: float, seed: int) -> None:
        self._url = url
        self._stream = stream
        self._share = share
        self._chance = random.Random(f"redelivery/{seed}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-redelivery", daemon=True)
        self._cursor = b"0-0"
        self._own: set[bytes] = set()
        self._later: list[tuple[float, int, bytes]] = []
        self._numbers = count()
        self.entries = self.again = self.set_back = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Append what was still to come again, if the stream is there, and end; idempotent."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with open_blocking_redis(self._url, block=timedelta(milliseconds=_BLOCK_MS)) as redis:
            while not self._stopping.is_set():
                try:
                    self._look(redis)
                    self._append_what_is_due(redis, time.monotonic())
                except RedisError:
                    self._stopping.wait(_PAUSE_S)
            try:
                self._append_what_is_due(redis, float("inf"))
            except RedisError:
                return  # it is not there: nothing comes again

    def _look(self, redis: Redis) -> None:
        found: Any = redis.xread({self._stream: self._cursor}, count=_AT_ONCE, block=_BLOCK_MS)
        for entry_id, fields in found[0][1] if found else []:
            self._cursor = entry_id
            if entry_id in self._own:
                self._own.discard(entry_id)
                continue
            self.entries += 1
            if self._chance.random() < self._share:
                due = time.monotonic() + self._chance.choice((0.0, self._chance.uniform(0.0, _LATER_S)))
                heapq.heappush(self._later, (due, next(self._numbers), fields[_FIELD]))
            if self.entries % _SET_BACK_EVERY == 0:
                self._set_back(redis)

    def _append_what_is_due(self, redis: Redis, until: float) -> None:
        while self._later and self._later[0][0] <= until:
            entry_id: Any = redis.xadd(self._stream, {_FIELD: self._later[0][2]})
            self._own.add(entry_id)
            heapq.heappop(self._later)
            self.again += 1

    def _set_back(self, redis: Redis) -> None:
        groups: Any = redis.xinfo_groups(self._stream)
        delivered = next((group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()), None)
        if delivered is None:
            return
        before: Any = redis.xrevrange(self._stream, max=delivered, count=_SET_BACK_BY + 1)
        if len(before) > 1:
            redis.xgroup_setid(self._stream, GROUP, before[-1][0])
            self.set_back += len(before) - 1


def is_settled(redis: Redis, stream: str) -> bool:
    """Whether everything in the stream was delivered and acknowledged."""
    groups: Any = redis.xinfo_groups(stream)
    group = next((each for each in groups if each["name"] == GROUP.encode()), None)
    newest: Any = redis.xrevrange(stream, count=1)
    if group is None or group["pending"]:
        return False
    return not newest or _order(newest[0][0]) <= _order(group["last-delivered-id"])


def _order(entry_id: bytes) -> tuple[int, int]:
    millis, _, sequence = entry_id.partition(b"-")
    return int(millis), int(sequence)
