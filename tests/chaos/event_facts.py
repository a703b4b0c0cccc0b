"""What the database says of events: rows of the ledger beside what is stored, and what producers said of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

#: Every row of the ledger that has an event, and the event's id; without one where a row must have one and has not.
LEDGER_VIEW = """
create view chaos.ledger (kind, event_id, execution_id) as
    select 'queued', queued_event_id, id from command_executions
    union all select 'ended', finished_event_id, id from command_executions where finished_at is not null
    union all select 'claimed', event_id, execution_id from command_attempts
    union all select 'let go', retried_event_id, execution_id from command_attempts where retried_event_id is not null
    union all select 'step', event_id, execution_id from command_steps
    union all select 'mutation', event_id, execution_id from mutations where event_id is not null
    union all select 'occurrence', event_id, execution_id from schedule_occurrences where state <> 'waiting';
"""
_ROWS = "select kind, count(*) from chaos.ledger group by kind"
_MISSING = """
select kind, event_id::text, execution_id::text from chaos.ledger
where event_id is null or not exists (select from telemetry_events as e where e.event_id = ledger.event_id)
"""
_COUNT_MISSING = f"select count(*) from ({_MISSING}) as missing"  # noqa: S608 - our own text
_SHARED = """
select event_id::text, count(*) from chaos.ledger where event_id is not null group by event_id having count(*) > 1
"""
#: Requests, refusals and what alerts say of themselves have no row that names them; anything else without one was
#: recorded by somebody whose write was refused.
_ZOMBIES = """
select event_type, event_id::text, execution_id::text from telemetry_events as e
where event_type not in ('http.request.completed', 'command.validation.failed') and event_type not like 'telemetry.%'
    and event_type not in ('alert.fired', 'alert.resolved')
    and not exists (select from chaos.ledger where ledger.event_id = e.event_id)
"""
_STORED = "select event_type, count(*) from telemetry_events group by event_type"
_REQUESTS = "select correlation_id from telemetry_events where event_type = 'http.request.completed'"
_DUPLICATES = "select coalesce(sum(duplicates), 0)::bigint from telemetry_batches"
_RECONCILED = "select count(*) from telemetry_reconciled"
_QUARANTINED = "select count(*) from telemetry_quarantine"
_PRODUCERS = """
select producer, given, dropped, closed_at is not null as is_closed, healed_at is not null as is_healed,
    (select coalesce(sum(upper(part) - lower(part)), 0)::bigint from unnest(seen) as part) as arrived
from telemetry_producers order by epoch
"""


@dataclass(frozen=True, slots=True)
class EventFact:
    """An event that should be stored and is not, or is and should not.

    Attributes:
        kind: Of the row that has it; of a stored one its type.
        event_id: None where the row has none, though it must.
    """

    kind: str
    event_id: str | None
    execution_id: str | None


@dataclass(frozen=True, slots=True)
class ProducerFact:
    """A row of `telemetry_producers`.

    Attributes:
        given: The last number it is known to have given.
        dropped: Events without a number, by type.
        is_closed: Whether it said that it ends; if not, nobody knows what it gave after `given`.
        is_healed: Whether what is missing of it was made again, as far as it has rows.
        arrived: How many numbers did.
    """

    producer: str
    given: int
    dropped: Mapping[str, int]
    is_closed: bool
    is_healed: bool
    arrived: int


@dataclass(slots=True)
class EventFacts:
    """Ledger and store, compared.

    Attributes:
        asked: Rows that have an event, by kind.
        stored: Events, by type.
        missing: Rows whose event is not stored.
        zombies: Stored events of something that has no row.
        shared: Ids of events that several rows have, and how many.
        requests: Correlation ids of the HTTP requests whose events are stored.
        duplicates: Events that sinks were given and had already.
        reconciled: Events that were made again from their rows.
        quarantined: Events that could not be stored as they are.
        producers: Of all epochs, in their order.
    """

    asked: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    missing: Sequence[EventFact] = ()
    zombies: Sequence[EventFact] = ()
    shared: Sequence[tuple[str, int]] = ()
    requests: frozenset[UUID] = frozenset()
    duplicates: int = 0
    reconciled: int = 0
    quarantined: int = 0
    producers: Sequence[ProducerFact] = ()

    @property
    def lost(self) -> Counter[str]:
        """Rows whose event is not stored, by kind."""
        return Counter(row.kind for row in self.missing)

    @property
    def dropped(self) -> Counter[str]:
        """Events that were dropped and counted, by type."""
        found: Counter[str] = Counter()
        for each in self.producers:
            found.update(each.dropped)
        return found

    @property
    def gaps(self) -> int:
        """Numbers that were given and did not arrive."""
        return sum(each.given - each.arrived for each in self.producers)

    @property
    def unknown_tails(self) -> int:
        """Epochs of which nobody knows how they ended."""
        return sum(not each.is_closed for each in self.producers)


def count_missing(connection: Connection[Any]) -> int:
    """Rows whose event is not stored now."""
    return _number(connection, _COUNT_MISSING)


def read_events(connection: Connection[Any]) -> EventFacts:
    """All of it; for one snapshot, in a transaction of the caller's."""
    return EventFacts(
        asked=dict(connection.execute(_ROWS).fetchall()),
        stored=dict(connection.execute(_STORED).fetchall()),
        missing=[EventFact(*row) for row in connection.execute(_MISSING)],
        zombies=[EventFact(*row) for row in connection.execute(_ZOMBIES)],
        shared=connection.execute(_SHARED).fetchall(),
        requests=frozenset(each for (each,) in connection.execute(_REQUESTS)),
        duplicates=_number(connection, _DUPLICATES),
        reconciled=_number(connection, _RECONCILED),
        quarantined=_number(connection, _QUARANTINED),
        producers=connection.cursor(row_factory=class_row(ProducerFact)).execute(_PRODUCERS).fetchall(),
    )


def _number(connection: Connection[Any], query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])
