"""Submissions under a key of the caller's: sent again, they are the same execution.

The header is that of draft-ietf-httpapi-idempotency-key-header.

The key is kept in the transaction that accepts the execution, under a unique index: of any number that come at once
one is accepted, and the others wait for it, and are it.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.values import canonical_json
from telemetry.sql import queries
from workers.errors import ConcurrencyFull, IdempotencyConflict
from workers.executions import Executions, reaching_store
from workers.submissions import Submission

SQL = queries(__file__)

#: How long a key is kept.
HOURS = 24


class Idempotency:
    """Accepts submissions under keys.

    Args:
        pool: In autocommit mode.
        executions: Accepts.
    """

    def __init__(self, pool: ConnectionPool, executions: Executions) -> None:
        self._pool = pool
        self._executions = executions

    def submit(self, submission: Submission, key: str) -> tuple[UUID, bool]:
        """The execution of a key of this user and command, and whether there was one already.

        Raises:
            IdempotencyConflict: The key was used for another submission.
            ConcurrencyKeyInvalid, ConcurrencyFull: As `Executions.submit`; there was none already.
            StoreUnavailable: Postgres did not take it; nothing was kept.
        """
        facts = _facts(submission, key)

        def take(connection: Connection[Any], execution_id: UUID) -> None:
            given = {**facts, "execution_id": execution_id, "hours": HOURS}
            if connection.execute(SQL["take"], given).fetchone() is None:
                raise _Taken

        try:
            return self._executions.submit(submission, take), False
        except ConcurrencyFull:
            # Very likely by the execution of this key.
            owner = self._owner(facts)
            if owner is None:
                raise
            return owner, True
        except _Taken:
            return self._taken(facts), True

    def find(self, submission: Submission, key: str) -> UUID | None:
        """The execution that a key of this user and command stands for already.

        Raises:
            IdempotencyConflict: The key was used for another submission.
        """
        return self._owner(_facts(submission, key))

    def forget(self) -> int:
        """Forget the keys whose time is over; how many."""
        with reaching_store(), self._pool.connection() as connection:
            return connection.execute(SQL["forget"], {"hours": HOURS}).rowcount

    def _taken(self, facts: dict[str, Any]) -> UUID:
        owner = self._owner(facts)
        if owner is None:
            raise key_reused()
        return owner

    def _owner(self, facts: dict[str, Any]) -> UUID | None:
        with reaching_store(), self._pool.connection() as connection:
            found = connection.execute(SQL["taken"], {**facts, "hours": HOURS}).fetchone()
        if found is None:
            return None
        if bytes(found[1]) != facts["body"]:
            raise key_reused()
        owner: UUID = found[0]
        return owner


class _Taken(Exception):
    """The key is kept for another execution; this one is not accepted."""


def key_reused() -> IdempotencyConflict:
    """What is to be said to who used a key twice."""
    return IdempotencyConflict(
        "the idempotency key was used for another submission",
        hint=f"Send a new key for a new submission; one is kept for {HOURS} hours.",
    )


def hash_of_key(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def _facts(submission: Submission, key: str) -> dict[str, Any]:
    return {
        "user": submission.user,
        "slug": submission.command.slug,
        "key": hash_of_key(key),
        "body": hash_of(submission),
    }


def hash_of(submission: Submission) -> bytes:
    """What makes two submissions the same: all that a caller decides."""
    said: dict[str, Any] = {
        "inputs": submission.inputs,
        "space": submission.space,
        "dry_run": submission.dry_run,
        "priority": submission.priority,
        "lane": submission.lane,
    }
    # Only where they are given: keys of submissions that say nothing of time are those of earlier versions.
    if submission.run_at is not None:
        said["run_at"] = submission.run_at.isoformat()
    if submission.expires_in is not None:
        said["expires_in"] = submission.expires_in.total_seconds()
    return hashlib.sha256(canonical_json(said)).digest()
