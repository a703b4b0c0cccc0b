"""Requests under a key of the caller's that end in an execution: sent again, they are the same execution.

The header is that of draft-ietf-httpapi-idempotency-key-header.

The key is kept in the transaction that accepts the execution, under a unique index: of any number that come at once
one is accepted, and the others wait for it, and are it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.sql import queries
from workers.errors import ConcurrencyFull, IdempotencyConflict
from workers.executions import Executions, reaching_store
from workers.submissions import Submission

SQL = queries(__file__)

#: How long a key is kept.
HOURS = 24


@dataclass(frozen=True, slots=True)
class Mark:
    """The key of a request, whose it is, and what came under it.

    Attributes:
        user: Plain name.
        slug: Of the command; keys of one are nothing to another.
        key: Hash of the key.
        body: Hash of all that the caller decided.
    """

    user: str
    slug: str
    key: bytes
    body: bytes

    @classmethod
    def of(cls, key: str, user: str, slug: str, said: object) -> Mark:
        """Of a key and what was said under it: as it was sent, whatever the order of its names, and whatever a command
        makes of it, for a command may have changed by the time it is sent again.

        Raises:
            RecursionError: What was said is nested too deeply.
        """
        return cls(user, slug, hash_of_key(key), hash_of(said))


class Idempotency:
    """Accepts submissions under keys.

    Args:
        pool: In autocommit mode.
        executions: Accepts.
    """

    def __init__(self, pool: ConnectionPool, executions: Executions) -> None:
        self._pool = pool
        self._executions = executions

    def submit(
        self, submission: Submission, mark: Mark, also: Callable[[Connection[Any], UUID], None] | None = None
    ) -> tuple[UUID, bool]:
        """The execution of a key of this user and command, and whether there was one already.

        Args:
            submission: What is asked for.
            mark: Its key.
            also: Writes what is to be committed with a new execution; gets its id. The key is taken before.

        Raises:
            IdempotencyConflict: The key was used for another request.
            ConcurrencyKeyInvalid, ConcurrencyFull: As `Executions.submit`; there was none already.
            StoreUnavailable: Postgres did not take it; nothing was kept.
        """

        def take(connection: Connection[Any], execution_id: UUID) -> None:
            given = {**_facts(mark), "execution_id": execution_id, "hours": HOURS}
            if connection.execute(SQL["take"], given).fetchone() is None:
                raise _Taken
            if also is not None:
                also(connection, execution_id)

        try:
            return self._executions.submit(submission, take), False
        except ConcurrencyFull:
            # Very likely by the execution of this key.
            owner = self.find(mark)
            if owner is None:
                raise
            return owner, True
        except _Taken:
            return self._taken(mark), True

    def find(self, mark: Mark) -> UUID | None:
        """The execution that a key of this user and command stands for already.

        Raises:
            IdempotencyConflict: The key was used for another request.
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            found = connection.execute(SQL["taken"], {**_facts(mark), "hours": HOURS}).fetchone()
        if found is None:
            return None
        if bytes(found[1]) != mark.body:
            raise key_reused()
        owner: UUID = found[0]
        return owner

    def find_all(self, marks: Sequence[Mark]) -> dict[Mark, UUID | IdempotencyConflict]:
        """Of those marks whose keys are used already, the execution, or that the key was used for another request.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        if not marks:
            return {}
        given = {
            "users": [mark.user for mark in marks],
            "slugs": [mark.slug for mark in marks],
            "keys": [mark.key for mark in marks],
        }
        with reaching_store(), self._pool.connection() as connection:
            rows = connection.execute(SQL["all_taken"], {**given, "hours": HOURS}).fetchall()
        owners = {(user, slug, bytes(key)): (bytes(body), owner) for user, slug, key, body, owner in rows}
        found: dict[Mark, UUID | IdempotencyConflict] = {}
        for mark in marks:
            body, owner = owners.get((mark.user, mark.slug, mark.key), (None, None))
            if owner is not None:
                found[mark] = owner if body == mark.body else key_reused()
        return found

    def forget(self) -> int:
        """Forget the keys whose time is over; how many."""
        with reaching_store(), self._pool.connection() as connection:
            return connection.execute(SQL["forget"], {"hours": HOURS}).rowcount

    def _taken(self, mark: Mark) -> UUID:
        owner = self.find(mark)
        if owner is None:
            raise key_reused()
        return owner


class _Taken(Exception):
    """The key is kept for another execution; this one is not accepted."""


def key_reused() -> IdempotencyConflict:
    """What is to be said to who used a key twice."""
    return IdempotencyConflict(
        "the idempotency key was used for another request",
        hint=f"Send a new key for a new request; one is kept for {HOURS} hours.",
    )


def hash_of_key(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def hash_of(said: object) -> bytes:
    """What makes two requests the same: a JSON value, whatever the order of its names."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _facts(mark: Mark) -> dict[str, Any]:
    return {"user": mark.user, "slug": mark.slug, "key": mark.key, "body": mark.body}
