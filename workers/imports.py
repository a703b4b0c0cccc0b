"""Importing notes: fragments made or changed from outside, with no execution."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl.fragments import Imported, import_notes, space_id
from dsl.notes import Note
from dsl.step import Mutation
from telemetry.clock import Clock
from telemetry.events import Scope
from telemetry.recorder import Recorder
from workers.changes import Changes
from workers.executions import reaching_store


class Imports:
    """Stores notes.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: Stamps.
        recorder: Takes the events of what was committed.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, recorder: Recorder) -> None:
        self._pool = pool
        self._changes = Changes(pool, clock, recorder)

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
            scope: Who caused it.

        Raises:
            RecordInvalid: A note cannot be stored; none of them was.
            StoreUnavailable: Postgres did not answer; none of them was stored.
        """
        with self._changes.transaction(user, scope) as change:
            imported = import_notes(change.connection, notes, space, change.now)
            change.tell(space, _mutations(imported))
        return imported


def _mutations(imported: Imported) -> list[Mutation]:
    created = [Mutation("fragment", "created", entity_id) for entity_id in imported.created_ids]
    return created + [Mutation("fragment", "updated", entity_id) for entity_id in imported.updated_ids]
