"""Editing fragments by hand: one at a time, from outside, with no execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl import fragments
from dsl.errors import FragmentNotFound
from dsl.fragment_mutations import HashContent, created, deleted, updated
from dsl.fragments import Draft, Fragment, Space
from telemetry.clock import Clock
from telemetry.events import Scope
from telemetry.recorder import Recorder
from workers.changes import Changes


@dataclass(frozen=True, slots=True)
class Edited:
    """A fragment as it is stored now (as it was, if it was removed), and the id of its space."""

    fragment: Fragment
    space_id: UUID


class Edits:
    """Makes, changes and removes fragments. Each edit is one transaction, told as that of a step would be.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: Stamps.
        recorder: Takes the events of what was committed.
        hash_content: Keyed, of what was there before and after.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, recorder: Recorder, hash_content: HashContent) -> None:
        self._changes = Changes(pool, clock, recorder)
        self._hash_content = hash_content

    def create(self, draft: Draft, space: str, user: str, scope: Scope) -> Edited:
        """Store a new fragment in the space of that name, made if it is new.

        Raises:
            RecordInvalid: It cannot be stored.
            StoreUnavailable: Postgres did not answer, or took too long.
        """
        with self._changes.transaction(user, scope) as change:
            space_id = fragments.space_id(change.connection, space)
            fragment = fragments.insert(change.connection, draft, Space(space_id, space), change.now)
            change.tell(space_id, [created(fragment, self._hash_content)])
            return Edited(fragments.get(change.connection, fragment.id), space_id)

    def update(
        self, fragment_id: UUID, wish: fragments.Change, user: str, scope: Scope, check: Callable[[Fragment], None]
    ) -> Edited:
        """Change a fragment; if the change changes nothing, nothing is written.

        Args:
            fragment_id: Which one.
            wish: What to change of it.
            user: On whose behalf, in plain.
            scope: Who caused it.
            check: Is shown the fragment as it was, under its lock. What it raises undoes the change.

        Raises:
            FragmentNotFound: There is none with this id.
            RecordInvalid: It cannot be stored as it would be.
            StoreUnavailable: Postgres did not answer, or took too long.
        """
        with self._changes.transaction(user, scope) as change:
            changed = fragments.update(change.connection, fragment_id, wish, change.now)
            check(changed.before)
            space_id = fragments.space_id(change.connection, changed.after.space)
            change.tell(space_id, updated(changed, self._hash_content))
            return Edited(fragments.get(change.connection, fragment_id), space_id)

    def delete(self, fragment_id: UUID, user: str, scope: Scope, check: Callable[[Fragment], None]) -> Edited:
        """Remove a fragment. Arguments and errors as of `update`."""
        with self._changes.transaction(user, scope) as change:
            removed = list(fragments.delete(change.connection, [fragment_id]))
            if not removed:
                raise FragmentNotFound(f"no fragment {fragment_id}", fragment_id=str(fragment_id))
            check(removed[0])
            space_id = fragments.space_id(change.connection, removed[0].space)
            change.tell(space_id, [deleted(removed[0], self._hash_content)])
            return Edited(removed[0], space_id)
