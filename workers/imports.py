"""Importing notes: fragments made or changed from outside, with no execution, and on the record all the same."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl.fragment_events import fragment_event, mint_events
from dsl.fragments import Imported, import_notes, space_id
from dsl.notes import Note
from dsl.step import Mutation
from telemetry.clock import Clock, from_unix_us
from telemetry.events import Scope
from telemetry.ids import new_id
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.executions import reaching_store

SQL = queries(__file__)


class Imports:
    """Stores notes.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: Stamps.
        recorder: Takes the events of what was committed.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, recorder: Recorder) -> None:
        self._pool = pool
        self._clock = clock
        self._recorder = recorder

    def space_id(self, name: str) -> UUID:
        """The space of that name, made if it is new.

        Raises:
            RecordInvalid: It cannot be the name of one.
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            return space_id(connection, name)

    def run(self, notes: Sequence[Note], space: UUID, user: str, scope: Scope) -> Imported:
        """Store the notes and what they changed in one transaction; then record it.

        Args:
            notes: At most a few hundred: they are locked until all are stored.
            space: Where to.
            user: On whose behalf, in plain.
            scope: Who caused it, for the events; its correlation id is kept with the mutations.

        Raises:
            RecordInvalid: A note cannot be stored; none of them was.
            StoreUnavailable: Postgres did not answer; none of them was stored.
        """
        now_us = self._clock.unix_us()
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            imported = import_notes(connection, notes, space, from_unix_us(now_us))
            mutations = _mutations(imported)
            events = mint_events(mutations, now_us) if self._recorder.enabled else (None,) * len(mutations)
            connection.execute(
                SQL["insert_mutations"],
                {
                    "ids": [new_id(now_us) for _ in mutations],
                    "correlation_id": UUID(bytes=scope.correlation_id),
                    "request_source": scope.request_source,
                    "user_name": user,
                    "space_id": space,
                    "entity_ids": [mutation.entity_id for mutation in mutations],
                    "operations": [mutation.operation for mutation in mutations],
                    "occurred_at": from_unix_us(now_us),
                    "event_ids": [event and UUID(bytes=event.event_id) for event in events],
                    "event_rows": [event and event.rows for event in events],
                },
            )
        for mutation, event in zip(mutations, events, strict=True):
            if event is not None:
                self._recorder.record(fragment_event(scope, mutation, event, now_us))
        return imported


def _mutations(imported: Imported) -> list[Mutation]:
    created = [Mutation("fragment", "created", entity_id) for entity_id in imported.created_ids]
    return created + [Mutation("fragment", "updated", entity_id) for entity_id in imported.updated_ids]
