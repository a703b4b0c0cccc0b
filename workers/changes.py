"""Changes made from outside, with no execution, and on the record all the same.

A step's changes are told by its ledger row. These have none: their rows in `mutations` say who made them, and hold all
that their events are made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.fragment_events import fragment_event, mint_events
from dsl.step import Mutation, MutationEvent
from telemetry.clock import Clock, from_unix_us
from telemetry.events import Scope
from telemetry.ids import new_id
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.executions import reaching_store

SQL = queries(__file__)


@dataclass(slots=True)
class Change:
    """A transaction in which something is being changed.

    Attributes:
        connection: To change it with.
        now: When.
        mutations: What was changed so far.
        space_id: Where; needed once there are any.
    """

    connection: Connection[Any]
    now: datetime
    mutations: list[Mutation] = field(default_factory=list)
    space_id: UUID | None = None

    def tell(self, space_id: UUID, mutations: Iterable[Mutation]) -> None:
        """Add what was changed, all of it in one space."""
        self.space_id = space_id
        self.mutations.extend(mutations)


class Changes:
    """Keeps changes and what is told of them together.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: Stamps.
        recorder: Takes the events of what was committed.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, recorder: Recorder) -> None:
        self._pool = pool
        self._clock = clock
        self._recorder = recorder

    @contextmanager
    def transaction(self, user: str, scope: Scope) -> Iterator[Change]:
        """One transaction: what the block changes and tells, or nothing; its events follow the commit.

        Args:
            user: On whose behalf, in plain.
            scope: Who caused it, for the events; its correlation id is kept with the mutations. Its space is the
                change's.

        Raises:
            StoreUnavailable: Postgres did not answer, or took too long; nothing is known to be changed.
        """
        now_us = self._clock.unix_us()
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            change = Change(connection, from_unix_us(now_us))
            yield change
            if not change.mutations:
                return
            if change.space_id is None:
                message = "a change that does not say in which space"
                raise RuntimeError(message)
            events = mint_events(change.mutations, now_us) if self._recorder.enabled else ()
            connection.execute(SQL["insert_mutations"], _parameters(change, user, scope, events, now_us))
        scope = msgspec.structs.replace(scope, space_id=change.space_id.bytes)
        for mutation, event in zip(change.mutations, events, strict=False):
            if event is not None:
                self._recorder.record(fragment_event(scope, mutation, event, now_us))


def _parameters(
    change: Change, user: str, scope: Scope, events: Sequence[MutationEvent | None], now_us: int
) -> dict[str, Any]:
    mutations = change.mutations
    told = events or (None,) * len(mutations)
    return {
        "ids": [new_id(now_us) for _ in mutations],
        "correlation_id": UUID(bytes=scope.correlation_id),
        "request_source": scope.request_source,
        "user_name": user,
        "space_id": change.space_id,
        "entities": [mutation.entity for mutation in mutations],
        "entity_ids": [mutation.entity_id for mutation in mutations],
        "operations": [mutation.operation for mutation in mutations],
        "changed_fields": [",".join(mutation.changed_fields) for mutation in mutations],
        "befores": [mutation.before for mutation in mutations],
        "afters": [mutation.after for mutation in mutations],
        "occurred_at": change.now,
        "event_ids": [event and UUID(bytes=event.event_id) for event in told],
        "event_rows": [event and event.rows for event in told],
    }
