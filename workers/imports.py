"""Importing notes: fragments made or changed from outside, with no execution, and on the record all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl.fragments import Imported, import_notes, space_id
from dsl.notes import Note
from dsl.step import Operation
from telemetry.clock import Clock, from_unix_us
from telemetry.events import Event, FragmentCreated, FragmentUpdated, Scope
from telemetry.ids import mint, new_id
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.executions import reaching_store

SQL = queries(__file__)

#: Fragments that one import tells of one by one; of more it tells in one event per operation, as steps do.
MAX_FRAGMENT_EVENTS: Final = 100

_EVENTS: Final = {"created": FragmentCreated, "updated": FragmentUpdated}


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

    def run(self, notes: Sequence[Note], space: UUID, scope: Scope) -> Imported:
        """Store the notes and what they changed in one transaction; then record it.

        Args:
            notes: At most a few hundred: they are locked until all are stored.
            space: Where to.
            scope: Who caused it; its correlation id is kept with the mutations.

        Raises:
            RecordInvalid: A note cannot be stored; none of them was.
            StoreUnavailable: Postgres did not answer; none of them was stored.
        """
        now_us = self._clock.unix_us()
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            imported = import_notes(connection, notes, space, from_unix_us(now_us))
            changes = _changes(imported)
            event_ids = self._event_ids(changes, now_us)
            connection.execute(
                SQL["insert_mutations"],
                {
                    "ids": [new_id(now_us) for _ in changes],
                    "correlation_id": UUID(bytes=scope.correlation_id),
                    "entity_ids": [entity_id for _, entity_id in changes],
                    "operations": [operation for operation, _ in changes],
                    "occurred_at": from_unix_us(now_us),
                    "event_ids": [event_id and UUID(bytes=event_id) for event_id in event_ids],
                },
            )
        for event in _events(changes, event_ids, now_us, scope):
            self._recorder.record(event)
        return imported

    def _event_ids(self, changes: Sequence[tuple[Operation, UUID]], now_us: int) -> list[bytes | None]:
        """An id for each event there will be: of each change or, when they are many, of the first of its operation."""
        if not self._recorder.enabled:
            return [None] * len(changes)
        if len(changes) <= MAX_FRAGMENT_EVENTS:
            return [mint(now_us) for _ in changes]
        seen: set[Operation] = set()
        event_ids: list[bytes | None] = []
        for operation, _ in changes:
            event_ids.append(None if operation in seen else mint(now_us))
            seen.add(operation)
        return event_ids


def _changes(imported: Imported) -> list[tuple[Operation, UUID]]:
    created: list[tuple[Operation, UUID]] = [("created", entity_id) for entity_id in imported.created_ids]
    return created + [("updated", entity_id) for entity_id in imported.updated_ids]


def _events(
    changes: Sequence[tuple[Operation, UUID]], event_ids: Sequence[bytes | None], now_us: int, scope: Scope
) -> Iterator[Event]:
    is_summary = len(changes) > MAX_FRAGMENT_EVENTS
    for (operation, entity_id), event_id in zip(changes, event_ids, strict=True):
        if event_id is None:
            continue
        count = sum(other == operation for other, _ in changes) if is_summary else 1
        fragment_id = None if is_summary else entity_id.bytes
        yield _EVENTS[operation](event_id, now_us, scope, fragment_id, mutations_count=count)
