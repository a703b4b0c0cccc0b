"""The telemetry stream in Redis: append entries, read them as one of a group, acknowledge, claim, trim.

Delivery is at least once: an entry that was read stays pending until it is acknowledged, whoever dies in between.
Nothing that is not acknowledged is ever trimmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from telemetry.errors import StreamUnavailable

#: The one field of an entry.
FIELD = b"b"
#: The one group whose reading decides what may be trimmed; a stream that is only tailed has none.
GROUP = "sink"

#: How Redis answers when stream or group are gone: flushed, restarted empty, or deleted under a blocked reader.
_GROUP_GONE = ("NOGROUP", "UNBLOCKED")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was delivered.

    Attributes:
        id: Its place in the stream.
        data: What was appended; None if somebody deleted it from the stream before it was acknowledged.
    """

    id: bytes
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much the stream holds.

    Attributes:
        entries: All of them, read ones that are not trimmed yet included.
        waiting: Those that are not acknowledged: delivered or not.
        size_bytes: Memory that Redis uses for them, about.
    """

    entries: int = 0
    waiting: int = 0
    size_bytes: int = 0


class StreamWriter:
    """The producer's side.

    Args:
        redis: A client that fails fast: short time-out, no retries (`open_redis(url, timeout=..., retries=0)`).
        key: Of the stream.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key

    def append(self, data: bytes) -> None:
        """Append one entry.

        Raises:
            StreamUnavailable: Redis did not say that it has it. It may have: the sink stores an event once however
                often it arrives.
        """
        with redis_errors():
            self._redis.xadd(self._key, {FIELD: data})

    def length(self) -> int:
        """Entries of the stream, read ones that are not trimmed yet included.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with redis_errors():
            return int(self._redis.xlen(self._key))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class StreamReader:
    """One consumer of the group. Made for one thread; only `unblock` may be called from another.

    Args:
        commands: A client for commands that answer at once.
        blocking: A client whose socket is patient for longer than any `block` (`open_blocking_redis`).
        key: Of the stream.
        consumer: Name within the group; no two living readers may share one.
        group: Created when it is missing, from the first entry on.
    """

    def __init__(self, commands: Redis, blocking: Redis, key: str, *, consumer: str, group: str = GROUP) -> None:
        self._commands = commands
        self._blocking_pool = blocking
        self._blocking: Redis | None = None
        self._key = key
        self._group = group
        self._consumer = consumer
        self._blocked_id: int | None = None

    def create_group(self) -> None:
        """Make the stream and the group where they are missing, at the first entry.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with redis_errors():
            try:
                self._commands.xgroup_create(self._key, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def read_new(self, count: int, block: timedelta = timedelta(0)) -> list[Entry]:
        """At most `count` entries that were never delivered; waits up to `block` for the first.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        if block <= timedelta(0):
            return self._read(self._commands, ">", count)
        with redis_errors():
            if self._blocking is None:
                # One connection of its own, so that its id means something; connects at once, hence only here.
                self._blocking = Redis(
                    connection_pool=self._blocking_pool.connection_pool, single_connection_client=True
                )
            self._blocked_id = int(self._blocking.client_id())
        try:
            return self._read(self._blocking, ">", count, block_ms=max(1, block // timedelta(milliseconds=1)))
        finally:
            self._blocked_id = None

    def read_pending(self, count: int) -> list[Entry]:
        """At most `count` entries that were delivered to this consumer and not acknowledged, oldest first.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        return self._read(self._commands, "0", count)

    def claim(self, idle: timedelta, count: int) -> int:
        """Take over entries of other consumers that have been pending for longer than `idle`.

        Returns:
            How many are this consumer's now, at most `count`; `read_pending` delivers them.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        idle_ms = idle // timedelta(milliseconds=1)
        with redis_errors():
            try:
                claimed = self._commands.xautoclaim(
                    self._key, self._group, self._consumer, idle_ms, "0-0", count=count, justid=True
                )
            except ResponseError as error:
                if not str(error).startswith(_GROUP_GONE):
                    raise
                return 0
        return len(claimed)

    def acknowledge(self, ids: Sequence[bytes]) -> int:
        """Say that these entries are stored. Returns how many were pending until now.

        Raises:
            StreamUnavailable: Redis did not answer; they may come again.
        """
        if not ids:
            return 0
        with redis_errors():
            return int(self._commands.xack(self._key, self._group, *ids))

    def trim(self) -> int:
        """Delete what is acknowledged and older than everything that is not. Returns how many entries went.

        Several readers and writers may be at work meanwhile:

        1. Read how far the group was delivered. What is delivered after this is not touched.
        2. Then read the oldest pending entry. What was delivered by 1 and is not pending now is acknowledged.

        The other way round, an entry delivered between the two readings would look acknowledged.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with redis_errors():
            delivered = self._last_delivered()
            if delivered is None:
                return 0
            pending: dict[str, Any] = self._commands.xpending(self._key, self._group)
            keep = pending["min"] if pending["pending"] else _after(delivered)
            if order(keep) > order(_after(delivered)):
                keep = _after(delivered)
            return int(self._commands.xtrim(self._key, minid=keep, approximate=False))

    def length(self) -> int:
        """Entries of the stream.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with redis_errors():
            return int(self._commands.xlen(self._key))

    def backlog(self) -> Backlog:
        """How much the stream holds, and how much of it waits. Redis estimates its memory from a sample.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with redis_errors():
            entries = int(self._commands.xlen(self._key))
            size_bytes, group = self._size_bytes(), self._group_facts()
        # Without a group nothing was delivered; and Redis cannot tell the lag after entries were deleted by hand.
        lag = None if group is None else group.get("lag")
        waiting = entries if group is None or lag is None else int(group["pending"]) + int(lag)
        return Backlog(entries, min(entries, waiting), size_bytes)

    def unblock(self) -> None:
        """End a `read_new` of another thread that is waiting; it returns nothing. Best effort, never raises."""
        blocked_id = self._blocked_id
        if blocked_id is None:
            return
        try:
            self._commands.client_unblock(blocked_id)
        except (RedisError, OSError, ValueError):
            # Redis is gone, so the reader's own socket tells it; or the reader has ended, and closed this one.
            return

    def leave(self) -> None:
        """Take this consumer off the group, unless entries are still pending for it (another one claims them).

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        if not self.read_pending(1):
            with redis_errors():
                self._commands.xgroup_delconsumer(self._key, self._group, self._consumer)

    def close(self) -> None:
        """Close the connections."""
        if self._blocking is not None:
            self._blocking.close()
        self._blocking_pool.close()
        self._commands.close()

    def _read(self, redis: Redis, start: str, count: int, block_ms: int | None = None) -> list[Entry]:
        with redis_errors():
            try:
                found: Any = redis.xreadgroup(
                    self._group, self._consumer, {self._key: start}, count=count, block=block_ms
                )
            except ResponseError as error:
                if not str(error).startswith(_GROUP_GONE):
                    raise
                # Flushed or restarted empty: a new group begins at 0, so nothing appended since is missed.
                self.create_group()
                return []
        entries = found[0][1] if found else []
        return [Entry(entry_id, fields.get(FIELD) if fields else None) for entry_id, fields in entries]

    def _size_bytes(self) -> int:
        """Memory of the stream; 0 where Redis keeps that from us."""
        try:
            return int(self._commands.memory_usage(self._key) or 0)
        except NoPermissionError:
            return 0

    def _last_delivered(self) -> bytes | None:
        """How far the group was delivered, or None if there is no group."""
        group = self._group_facts()
        return None if group is None else group["last-delivered-id"]

    def _group_facts(self) -> dict[str, Any] | None:
        """What Redis knows of the group, or None if there is no group."""
        try:
            groups: list[dict[str, Any]] = self._commands.xinfo_groups(self._key)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return None
        return next((group for group in groups if group["name"] == self._group.encode()), None)


def oldest_waiting_us(redis: Redis, key: str, group: str = GROUP) -> int:
    """For how long the oldest unacknowledged entry has been in the stream, by the clock of Redis; 0 if there is none.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    groups: list[dict[str, Any]] = redis.xinfo_groups(key) if redis.exists(key) else []
    facts = next((each for each in groups if each["name"] == group.encode()), None)
    delivered = b"0-0" if facts is None else facts["last-delivered-id"]
    following: Any = redis.xrange(key, min=b"(" + delivered, count=1)
    oldest: list[bytes] = [entry_id for entry_id, _ in following]
    if facts is not None and facts["pending"]:
        pending: dict[str, Any] = redis.xpending(key, group)
        oldest += [pending["min"]] if pending["min"] else []
    if not oldest:
        return 0
    seconds, micros = redis.time()
    return max(0, seconds * 1_000_000 + micros - min(map(appended_us, oldest)))


def appended_us(entry_id: bytes) -> int:
    """When an entry was appended, by the clock of Redis: microseconds since 1970, to the millisecond."""
    return order(entry_id)[0] * 1000


def order(entry_id: bytes) -> tuple[int, int]:
    """By which entries come one after the other."""
    millis, _, sequence = entry_id.partition(b"-")
    return int(millis), int(sequence)


def _after(entry_id: bytes) -> bytes:
    """The id right after one."""
    millis, sequence = order(entry_id)
    return b"%d-%d" % (millis, sequence + 1)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Has what Redis could not do raised as `StreamUnavailable`."""
    try:
        yield
    except RedisError as error:
        raise StreamUnavailable(f"Redis did not serve the telemetry stream: {error}") from error
