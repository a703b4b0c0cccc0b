"""What the database says when all is over, read once, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chaos.event_facts import EventFacts, read_events
from psycopg import Connection
from psycopg.rows import class_row

_EXECUTIONS = """
select e.id::text, e.slug, e.state, e.link, e.parent_id::text, e.schedule_id::text, e.dry_run,
    e.inputs->>'token' as token, e.attempt, e.deaths, e.error->>'type' as error_type
from command_executions as e
"""
_STEPS = "select execution_id::text, path, outcome, step_try, attempt from command_steps order by ordinal"
_MUTATIONS = """
select execution_id::text, entity, operation, dry_run, sum(rows_count)::int
from mutations group by execution_id, entity, operation, dry_run
"""
_JOURNAL = "select token, entity, operation, count(*) from chaos.journal group by token, entity, operation"
_FRAGMENTS = "select title, count(*) from fragments group by title"
_ROWS = "select token, count(*) from chaos.rows group by token"
_KEYS = "select execution_id::text, count(*) from idempotency_keys group by execution_id"
_SCHEDULES = "select id::text, name, created_at, updated_at from schedules"
_OCCURRENCES = """
select schedule_id::text, due_at, last_due_at, due_times, origin, state, reason, execution_id::text
from schedule_occurrences order by schedule_id, due_at
"""
_ATTEMPTS = """
select a.execution_id::text, a.attempt, a.worker_id::text, a.claimed_at, a.released_at, a.reason, a.delay_us
from command_attempts as a order by a.execution_id, a.attempt
"""
_CROWDS = "select slug, running, most from chaos.crowds"
_LAPSED = "select count(*) from workers where lease_until < now()"
_FINAL_EVENTS = """
select execution_id::text, count(*) from telemetry_events
where event_type in (
    'command.execution.completed', 'command.execution.failed', 'command.execution.cancelled'
)
group by execution_id
"""


@dataclass(frozen=True, slots=True)
class ExecutionFact:
    """A row of `command_executions`."""

    id: str
    slug: str
    state: str
    link: str | None
    parent_id: str | None
    schedule_id: str | None
    dry_run: bool
    token: str
    attempt: int
    deaths: int
    error_type: str | None


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """A row of `command_attempts`."""

    execution_id: str
    attempt: int
    worker_id: str
    claimed_at: datetime
    released_at: datetime | None
    reason: str | None
    delay_us: int | None


@dataclass(frozen=True, slots=True)
class OccurrenceFact:
    """A row of `schedule_occurrences`."""

    schedule_id: str
    due_at: datetime
    last_due_at: datetime
    due_times: int
    origin: str
    state: str
    reason: str | None
    execution_id: str | None


@dataclass(frozen=True, slots=True)
class ScheduleFact:
    """A row of `schedules`."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Facts:
    """Everything that is compared.

    Attributes:
        steps: By execution: path, outcome, try, attempt, in order.
        mutations: By execution: (entity, operation) and how many rows; of dry runs apart.
        journal: By token: (entity, operation) and how often it really happened.
        fragments: By title, how many there are.
        rows: By token, how many there are.
        keys: By execution, how many idempotency keys name it.
        crowds: Command, how many ran, how many may: whenever more did.
        lapsed_leases: Rows of workers that are gone.
        final_events: By execution, how many final events are stored.
        events: Ledger and store, compared.
    """

    executions: Sequence[ExecutionFact] = ()
    steps: dict[str, list[tuple[str, str, int, int]]] = field(default_factory=dict)
    mutations: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    dry_mutations: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    journal: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    fragments: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    schedules: Sequence[ScheduleFact] = ()
    occurrences: Sequence[OccurrenceFact] = ()
    attempts: Sequence[AttemptFact] = ()
    crowds: Sequence[tuple[str, int, int]] = ()
    lapsed_leases: int = 0
    final_events: dict[str, int] = field(default_factory=dict)
    events: EventFacts = field(default_factory=EventFacts)


def read(connection: Connection[Any]) -> Facts:
    """All facts, in one snapshot."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        facts = Facts(
            executions=connection.cursor(row_factory=class_row(ExecutionFact)).execute(_EXECUTIONS).fetchall(),
            schedules=connection.cursor(row_factory=class_row(ScheduleFact)).execute(_SCHEDULES).fetchall(),
            occurrences=connection.cursor(row_factory=class_row(OccurrenceFact)).execute(_OCCURRENCES).fetchall(),
            attempts=connection.cursor(row_factory=class_row(AttemptFact)).execute(_ATTEMPTS).fetchall(),
            fragments=dict(connection.execute(_FRAGMENTS).fetchall()),
            rows=dict(connection.execute(_ROWS).fetchall()),
            keys=dict(connection.execute(_KEYS).fetchall()),
            crowds=connection.execute(_CROWDS).fetchall(),
            lapsed_leases=(connection.execute(_LAPSED).fetchone() or (0,))[0],
            final_events=dict(connection.execute(_FINAL_EVENTS).fetchall()),
            events=read_events(connection),
        )
        for execution, *step in connection.execute(_STEPS):
            facts.steps.setdefault(execution, []).append((step[0], step[1], step[2], step[3]))
        for execution, entity, operation, is_dry, number in connection.execute(_MUTATIONS):
            kept = facts.dry_mutations if is_dry else facts.mutations
            kept.setdefault(execution, Counter())[entity, operation] += number
        for token, entity, operation, number in connection.execute(_JOURNAL):
            facts.journal.setdefault(token, Counter())[entity, operation] += number
    return facts
