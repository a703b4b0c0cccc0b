"""Is anything missing? What can be proved of the events that are stored, and what is to be named.

Two questions. *Transport*: has every number that a producer gave arrived, was nothing dropped, has every producer that
ended said so? *Ledger*: is the event stored of every row that has one? The second is stronger for what has a row; the
first is all there is for what has none (requests, refused submissions, telemetry's own health).

Rows are compared in slices of a bounded number, in the order of their event ids, which is that of time: what it costs
grows with the stretch that is asked about, not with what is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import scalar_row

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.errors import StoreTooSlow, StoreUnavailable
from telemetry.ids import least_id_at, unix_ms_of
from telemetry.partitions import list_partitions
from telemetry.sql import queries
from telemetry.transport import SILENCE, Epoch, Watermark, list_epochs, settled, watermark

SQL = queries(__file__)

#: Rows of the ledger that one statement compares.
SLICE_ROWS: Final = 20_000
#: Ranges of missing numbers that are named of one producer, and rows of each kind.
MAX_RANGES: Final = 1000
MAX_EXAMPLES: Final = 5

#: Kinds of rows of the ledger that have events (`ledger_events`).
KINDS: Final = ("queued", "claim", "retry", "step", "mutation", "final", "occurrence")
_DAY: Final = timedelta(days=1)
#: Before any event.
_BEGINNING: Final = from_unix_us(0)

#: How far the watermark, the stream and the comparison may be behind before that is told.
BEHIND: Final = timedelta(minutes=2)


@dataclass(slots=True)
class Ledger:
    """Rows of the ledger, and whether their events are stored.

    Attributes:
        checked: Rows that have an event, by kind.
        missing: Those whose event is stored nowhere.
        quarantined: Those whose event could not be stored as it was, and waits in quarantine; not missing.
        examples: Ids of the first missing events, with their kind; at most `MAX_EXAMPLES` of each.
    """

    checked: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[UUID, str]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the event of every row is accounted for."""
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """The answer to both questions, over a stretch of time.

    Attributes:
        since: From when.
        until: Up to when; not included.
        checked_until: Up to when rows were looked at: events of later ones may be on their way.
        days_not_kept: Days of it, after the first that is kept, whose events are not; their rows were not looked at.
        watermark: Up to when the stream has told everything.
        epochs: Producers that were at work then.
        ledger: The rows.
        reconciled: Events of then that were made again from their rows.
    """

    since: datetime
    until: datetime
    checked_until: datetime
    days_not_kept: tuple[datetime, ...]
    watermark: Watermark
    epochs: tuple[Epoch, ...]
    ledger: Ledger
    reconciled: int

    @property
    def is_transported(self) -> bool:
        """Whether every number has arrived and nothing was dropped, or that is healed."""
        return all(epoch.is_complete for epoch in self.epochs)

    @property
    def is_current(self) -> bool:
        """Whether what is known reaches to the end of it, but for what may be on its way."""
        return self.until - self.watermark.cutoff(timedelta(0)) <= BEHIND

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing. Of what nobody could look at, that is not known."""
        return self.is_current and self.is_transported and self.ledger.is_complete

    @property
    def may_be_missing(self) -> bool:
        """Whether events without a row may be missing, for nobody can know: what a gap or a tail held."""
        return any(epoch.missing or epoch.tail_unknown or epoch.lost for epoch in self.epochs)

    def public(self) -> dict[str, Any]:
        """The one JSON shape of it, for REST and CLI."""
        return {
            "complete": self.is_complete,
            "current": self.is_current,
            "may_be_missing": self.may_be_missing,
            "window": {
                "since": _text(self.since),
                "until": _text(self.until),
                "checked_until": _text(self.checked_until),
                "watermark": _text(self.watermark.at),
                "held_by": self.watermark.held_by,
                "heard_at": _text(self.watermark.transport_at),
                "silent": list(self.watermark.silent),
                "days_not_kept": [f"{day:%Y-%m-%d}" for day in self.days_not_kept],
            },
            "transport": {
                "complete": self.is_transported,
                "epochs": [_epoch_json(epoch) for epoch in self.epochs],
            },
            "ledger": {
                "complete": self.ledger.is_complete,
                "checked": {kind: self.ledger.checked[kind] for kind in KINDS},
                "missing": _of_kinds(self.ledger.missing),
                "quarantined": _of_kinds(self.ledger.quarantined),
                "examples": [
                    {"event_id": str(event_id), "kind": kind, "occurred_at": _text(occurred_at(event_id))}
                    for event_id, kind in self.ledger.examples
                ],
            },
            "reconciled": self.reconciled,
        }


def verify(  # noqa: PLR0913 - one keyword per limit
    connection: Connection[Any],
    since: datetime,
    until: datetime,
    *,
    silence: timedelta = SILENCE,
    grace: timedelta | None = None,
    patience: timedelta | None = None,
) -> Completeness:
    """What is missing of a stretch of time. Reads only; each statement looks at a bounded number of rows.

    Args:
        connection: To a migrated database, in autocommit mode.
        since: From when; aware.
        until: Up to when, not included; aware.
        silence: How long a producer may not be heard of before it counts as gone.
        grace: How long an event may be on its way; as long unless given.
        patience: How long all of it may take.

    Raises:
        StoreTooSlow: It took longer than `patience`, or a statement longer than it may.
        StoreUnavailable: Postgres did not answer.
    """
    since = max(since, _BEGINNING)
    deadline = None if patience is None else monotonic() + patience.total_seconds()
    try:
        mark = watermark(connection, silence)
        before = list_epochs(connection, since, until, mark)
        checked_until = max(since, min(until, mark.cutoff(grace)))
        kept, gone = kept_stretches(connection, since, checked_until)
        ledger = Ledger()
        for first, end in kept:
            for piece in slices(connection, first, end):
                if deadline is not None and monotonic() > deadline:
                    raise StoreTooSlow("comparing took too long", hint="Ask for a shorter time.")
                _compare(connection, piece, ledger)
        bounds = {"first_id": least_id_at(to_unix_us(since)), "end_id": least_id_at(to_unix_us(until))}
        reconciled = connection.cursor(row_factory=scalar_row).execute(SQL["count_reconciled"], bounds).fetchone()
        after = list_epochs(connection, since, until, mark)
    except psycopg.errors.QueryCanceled as error:
        raise StoreTooSlow("comparing took too long", hint="Ask for a shorter time.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(f"the ledger could not be compared: {error}") from error
    return Completeness(
        since=since,
        until=until,
        checked_until=checked_until,
        days_not_kept=gone,
        watermark=mark,
        epochs=tuple(settled(before, after)),
        ledger=ledger,
        reconciled=reconciled or 0,
    )


def compare_again(connection: Connection[Any], found: Completeness) -> None:
    """Let the reconciler begin at the first row that was found without its event; nothing else would look there again.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    if not found.ledger.examples:
        return
    try:
        connection.execute(SQL["set_back"], {"first_id": min(event_id for event_id, _ in found.ledger.examples)})
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(f"the reconciler could not be told: {error}") from error


def slices(
    connection: Connection[Any], first: datetime, end: datetime, rows: int = SLICE_ROWS
) -> Iterator[tuple[UUID, UUID]]:
    """A stretch of time, cut where so many rows of the ledger are passed: pairs of ids, the second not included."""
    first_id, end_id = least_id_at(to_unix_us(first)), least_id_at(to_unix_us(end))
    while first_id < end_id:
        bounds = {"first_id": first_id, "end_id": end_id, "rows": rows}
        cut = connection.execute(SQL["slice_end"], bounds).fetchone()
        following: UUID = end_id if cut is None else cut[0]
        yield first_id, following
        first_id = following


def look_at_completeness(connection: Connection[Any], silence: timedelta = SILENCE) -> dict[str, str]:
    """How the account of events stands, at the cost of a few rows: `ok`, or what is wrong, by what was looked at.

    `stream`: whether anything arrives; `watermark`: whether a producer holds back what is old; `producers`: whether
    something is missing of one; `ledger`: whether rows are compared with what is stored.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    try:
        mark = watermark(connection, silence)
        found = connection.execute(SQL["standing"]).fetchone()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(f"the account of events could not be read: {error}") from error
    assert found is not None  # noqa: S101 - it has a row
    now, gaps, place = found
    return {
        "stream": _late("nothing was heard of", now - mark.transport_at),
        "watermark": _late(f"held back by {mark.held_by}", mark.transport_at - mark.at),
        "producers": f"something is missing of {gaps} of them" if gaps else "ok",
        "ledger": "never compared" if place is None else _late("not compared", mark.cutoff() - occurred_at(place)),
    }


def _late(what: str, behind: timedelta) -> str:
    return "ok" if behind <= BEHIND else f"{what} for {behind // timedelta(seconds=1)} s"


def kept_stretches(
    connection: Connection[Any], since: datetime, until: datetime
) -> tuple[list[tuple[datetime, datetime]], tuple[datetime, ...]]:
    """What of a stretch of time lies in days that have a partition, days in a row together; and what days have none.

    Days before the first partition are not told of.
    """
    days = {_day_of(name) for name in list_partitions(connection)}
    kept: list[tuple[datetime, datetime]] = []
    gone = []
    since = max(since, min(days, default=until))
    day = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < until:
        first, end = max(day, since), min(day + _DAY, until)
        if day not in days:
            gone.append(day)
        elif kept and kept[-1][1] == first:
            kept[-1] = kept[-1][0], end
        else:
            kept.append((first, end))
        day += _DAY
    return kept, tuple(gone)


def occurred_at(event_id: UUID) -> datetime:
    """When an event occurred, to the millisecond: its id says so."""
    return from_unix_us(unix_ms_of(event_id.bytes) * 1000)


def _day_of(partition: str) -> datetime:
    return datetime.strptime(partition.rpartition("_p")[2], "%Y%m%d").replace(tzinfo=UTC)


def _compare(connection: Connection[Any], piece: tuple[UUID, UUID], ledger: Ledger) -> None:
    bounds = {"first_id": piece[0], "end_id": piece[1], "examples": MAX_EXAMPLES}
    for kind, checked, missing, quarantined, examples in connection.execute(SQL["compare"], bounds):
        ledger.checked[kind] += checked
        if quarantined:
            ledger.quarantined[kind] += quarantined
        if missing:
            left = max(0, MAX_EXAMPLES - ledger.missing[kind])
            ledger.missing[kind] += missing
            ledger.examples += [(event_id, kind) for event_id in examples[:left]]


def _epoch_json(epoch: Epoch) -> dict[str, Any]:
    return {
        "epoch": str(epoch.epoch),
        "producer": epoch.producer,
        "state": "closed" if epoch.closed_at else "open" if epoch.is_heard else "ended",
        "rung": epoch.rung,
        "started_at": _text(occurred_at(epoch.epoch)),
        "heard_at": _text(epoch.heard_at),
        "complete": epoch.is_complete,
        "given": epoch.given,
        "arrived": epoch.arrived,
        "missing": [list(numbers) for numbers in epoch.missing[:MAX_RANGES]],
        "missing_count": sum(last - first + 1 for first, last in epoch.missing),
        "dropped": dict(epoch.dropped),
        "lost": epoch.lost,
        "closed": epoch.closed_at is not None,
        "tail_unknown_after": epoch.given if epoch.tail_unknown else None,
        "healed": epoch.is_healed,
    }


def _of_kinds(counts: Mapping[str, int]) -> dict[str, int]:
    return {kind: counts[kind] for kind in KINDS if counts.get(kind)}


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
