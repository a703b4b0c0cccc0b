"""What could not be stored, kept as its shape, or whole where it may be (telemetry.misfits): put in, listed, dropped.

It is bounded: once full, more is counted and logged, and nothing else. Storing again what is in it is
`telemetry.replay`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import class_row, scalar_row

from telemetry.clock import Clock
from telemetry.ids import mint
from telemetry.misfits import Misfit, Reason
from telemetry.producers import Origin
from telemetry.sql import queries

SQL = queries(__file__)

#: Rows it holds, at most; about, with several sinks at once.
CAPACITY: Final = 100_000
#: How often they are counted, at most, in microseconds.
_COUNT_US: Final = 10_000_000

#: Bits that say which kind of UUID it is, what a UUIDv7 has there, and the latest time that it can tell.
_FIXED: Final = (0xF << 76) | (0b11 << 62)
_VERSION_7: Final = (0x7 << 76) | (0b10 << 62)
_LATEST_MS: Final = (1 << 48) - 1

_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Reject:
    """Something to be put into quarantine.

    Attributes:
        misfit: What it is.
        origin: Where it comes from; of an entry that is no batch only its place in the stream is known, as `entry_id`.
        entry_id: See there.
    """

    misfit: Misfit
    origin: Origin | None = None
    entry_id: bytes | None = None


class Quarantine:
    """The sink's side of it.

    Args:
        clock: Paces the counting.
        capacity: Rows it may hold.
    """

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._room = 0
        self._count_due_us = clock.monotonic_us()

    def keep(self, connection: Connection[Any], rejects: Sequence[Reject]) -> int:
        """Put these in, as far as there is room; how many there was room for. Nothing is put in twice.

        The same thing has the same id however often it comes, so that what is delivered again is recognised.
        """
        if not rejects:
            return 0
        self._count(connection, len(rejects))
        kept = rejects[: self._room]
        if not kept:
            return 0
        self._room -= len(kept)
        rows = sorted(((self._id_of(reject), reject) for reject in kept), key=itemgetter(0))
        told = [{"id": row_id, **_told(reject)} for row_id, reject in rows]
        connection.execute(SQL["keep"], {"rows": _json.encode(told).decode()})
        return len(kept)

    def _count(self, connection: Connection[Any], wanted: int) -> None:
        """See how much room there is: when there seems to be too little, but now and then only."""
        now_us = self._clock.monotonic_us()
        if self._room < wanted and now_us >= self._count_due_us:
            self._count_due_us = now_us + _COUNT_US
            cursor = connection.cursor(row_factory=scalar_row)
            held: int = cursor.execute(SQL["count"], {"capacity": self._capacity}).fetchone() or 0
            self._room = self._capacity - held

    def _id_of(self, reject: Reject) -> UUID:
        """A UUIDv7 of the time the entry was appended, and of where it comes from; a new one if nobody knows."""
        if reject.origin is not None:
            entry_id, mark = reject.origin.entry_id, reject.origin.epoch + reject.origin.number.to_bytes(8)
        elif reject.entry_id is not None:
            entry_id = mark = reject.entry_id
        else:
            return UUID(bytes=mint(self._clock.unix_us()))
        noise = int.from_bytes(hashlib.sha256(mark).digest()[:10]) & ~_FIXED
        unix_ms = min(int(entry_id.partition(b"-")[0]), _LATEST_MS)
        return UUID(int=unix_ms << 80 | noise | _VERSION_7)


def _told(reject: Reject) -> dict[str, Any]:
    """A row, as one statement takes many of them; bytes become base64."""
    misfit, origin = reject.misfit, reject.origin
    return {
        "reason": misfit.reason,
        "event_type": misfit.event_type,
        "event_id": None if misfit.event_id is None else UUID(bytes=misfit.event_id),
        "epoch": None if origin is None else UUID(bytes=origin.epoch),
        "number": None if origin is None else origin.number,
        "shape": misfit.shape,
        "size_bytes": misfit.size_bytes,
        "payload": misfit.payload,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of the quarantine.

    Attributes:
        reason: Only with this reason.
        event_type: Only of events of this type.
        ids: Only these.
        up_to: Only those with this id or a smaller one: what comes in later is left alone.
        after: Only those with a greater id.
        kept_only: Only those whose event is kept.
    """

    reason: Reason | None = None
    event_type: str | None = None
    ids: Sequence[UUID] | None = None
    up_to: UUID | None = None
    after: UUID | None = None
    kept_only: bool = False

    def parameters(self) -> dict[str, Any]:
        """As the statements take them."""
        return {
            "reason": self.reason,
            "event_type": self.event_type,
            "ids": None if self.ids is None else list(self.ids),
            "up_to": self.up_to,
            "after": self.after,
            "kept_only": self.kept_only,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A row of the quarantine.

    Attributes:
        id: In the order they were appended to the stream.
        quarantined_at: When.
        reason: Why it was not stored.
        event_type: What it says it is, if that is a type's name.
        event_id: Of the event, if it could be read.
        epoch: Of its producer.
        number: In that epoch.
        shape: Types and sizes of its fields.
        size_bytes: Of all of it.
        is_kept: Whether the event is kept, to be stored later.
    """

    id: UUID
    quarantined_at: datetime
    reason: Reason
    event_type: str | None
    event_id: UUID | None
    epoch: UUID | None
    number: int | None
    shape: dict[str, Any]
    size_bytes: int
    is_kept: bool


def page(
    connection: Connection[Any], selection: Selection, *, limit: int, before: UUID | None = None
) -> list[Quarantined]:
    """Rows, newest first; `before` is the id of the last one already seen."""
    cursor = connection.cursor(row_factory=class_row(Quarantined))
    parameters = {**selection.parameters(), "limit": limit, "before": before}
    return cursor.execute(SQL["page"], parameters, prepare=False).fetchall()


def matching(connection: Connection[Any], selection: Selection, limit: int) -> tuple[list[UUID], int]:
    """The oldest of them, at most `limit`, and how many there are altogether."""
    rows = connection.execute(SQL["matching"], {**selection.parameters(), "limit": limit}, prepare=False).fetchall()
    return [row[0] for row in rows], rows[0][1] if rows else 0


def newest(connection: Connection[Any]) -> UUID | None:
    """The newest row there is."""
    return connection.cursor(row_factory=scalar_row).execute(SQL["newest"]).fetchone()


def payloads(connection: Connection[Any], ids: Sequence[UUID]) -> list[tuple[UUID, bytes]]:
    """The kept events of these rows; those that hold none, and that are gone, are left out."""
    found = connection.execute(SQL["payloads"], {"ids": list(ids)}).fetchall()
    return [(row[0], row[1]) for row in found]


def drop(connection: Connection[Any], ids: Sequence[UUID]) -> list[UUID]:
    """Delete rows; those that were there until now."""
    return sorted(connection.cursor(row_factory=scalar_row).execute(SQL["drop"], {"ids": list(ids)}).fetchall())
