"""Many submissions at once: those that can be accepted are, in one transaction, and each has a verdict of its own.

The rows go to Postgres as one statement, whatever their number, and their keys of idempotency with them: in the same
statement, so that a submission whose key is kept for another execution writes nothing.

The whole may come under a key too. It is taken first and the answer is kept with it, in the same transaction: of two
that come at once, the second waits for the first to commit, and is given its answer.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from dsl.errors import ConcurrencyKeyInvalid
from telemetry.errors import WeirError
from telemetry.sql import queries
from workers.errors import ConcurrencyFull
from workers.executions import Executions, reaching_store
from workers.hints import Hints
from workers.idempotency import HOURS, Mark, hash_of, hash_of_key, key_reused
from workers.slots import refuse_if_full
from workers.submissions import Acceptance, Submission

SQL = queries(__file__)

#: Submissions of one request, at most.
MAX_ITEMS = 1000

#: Hints that a lane is sent, at most: each wakes one thread of a worker, which then runs all there is.
MAX_HINTS = 16

#: User, command and hash of an item's key: of which there is one.
_Owned: TypeAlias = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """One of many submissions.

    Attributes:
        submission: What is asked for.
        mark: Its key of idempotency; none if it came without.
    """

    submission: Submission
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one of many submissions; either it has an execution, or it was refused.

    Attributes:
        execution_id: Its execution.
        is_replay: Whether that was there before.
        refusal: Why there is none.
    """

    execution_id: UUID | None = None
    is_replay: bool = False
    refusal: WeirError | None = None


@dataclass(frozen=True, slots=True)
class WholeKey:
    """The key of a whole submission, and what came under it; hashes.

    Attributes:
        key: Of the key.
        body: Of what was sent.
    """

    key: bytes
    body: bytes

    @classmethod
    def of(cls, key: str, body: object) -> WholeKey:
        """Of a key and a JSON value, whatever the order of its keys."""
        return cls(hash_of_key(key), hash_of(body))


#: What a caller answers to the verdicts; JSON.
AnswerOf: TypeAlias = Callable[[Sequence[Verdict]], dict[str, Any]]


class BulkKeys:
    """The keys of whole submissions.

    Args:
        pool: In autocommit mode.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def answer(self, whole: WholeKey) -> dict[str, Any] | None:
        """What was answered under a key; none if nothing was yet.

        Raises:
            IdempotencyConflict: The key was used for something else.
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            found = connection.execute(SQL["kept"], {"key": whole.key, "hours": HOURS}).fetchone()
        if found is None:
            return None
        if bytes(found[0]) != whole.body:
            raise key_reused()
        answer: dict[str, Any] = found[1]
        return answer

    def forget(self) -> int:
        """Forget the keys whose time is over; how many."""
        with reaching_store(), self._pool.connection() as connection:
            return connection.execute(SQL["forget"], {"hours": HOURS}).rowcount


class Bulk:
    """Accepts many submissions in one transaction.

    Args:
        pool: In autocommit mode.
        executions: Prepares and announces acceptances.
        hints: Wakes their lanes.
    """

    def __init__(self, pool: ConnectionPool, executions: Executions, hints: Hints) -> None:
        self._pool = pool
        self._executions = executions
        self._hints = hints

    def submit(
        self, items: Sequence[Item | Verdict | WeirError], answer_of: AnswerOf, whole: WholeKey | None = None
    ) -> tuple[dict[str, Any], bool]:
        """The answer to many submissions, and whether it is that of an earlier one under the same key.

        When this returns, all that were accepted are committed, in one transaction, and will run. Killed before the
        commit, none of them was accepted; killed after it, all of them were, and the sweeper wakes their lanes.

        Args:
            items: In order, `MAX_ITEMS` at most; those that were refused already are their errors, those that were
                accepted before their verdicts.
            answer_of: Makes the answer of the verdicts, which are in the same order; called once, before the commit.
            whole: The key of all of them together.

        Raises:
            IdempotencyConflict: The key of the whole was used for something else.
            StoreUnavailable: Postgres did not take it; nothing was kept.
        """
        batch = _Batch(self._executions, items)
        try:
            with reaching_store(), self._pool.connection() as connection, connection.transaction():
                if whole is not None:
                    _take(connection, whole)
                batch.write(connection)
                answer = answer_of(batch.verdicts())
                if whole is not None:
                    connection.execute(SQL["keep"], {"key": whole.key, "answer": Jsonb(answer)})
        except _Taken:
            # Whoever has it has committed, or its insert would still be waiting.
            kept = None if whole is None else BulkKeys(self._pool).answer(whole)
            if kept is None:
                raise key_reused() from None
            return kept, True
        self._announce(batch.accepted)
        return answer, False

    def _announce(self, accepted: Sequence[Acceptance]) -> None:
        """After the commit. Never raises: the rows are there, the sweeper heals."""
        for acceptance in accepted:
            self._executions.announce(acceptance)
        for lane, count in Counter(acceptance.submission.lane for acceptance in accepted).items():
            cause = next(each for each in accepted if each.submission.lane == lane)
            for _ in range(min(count, MAX_HINTS)):
                self._hints.wake(lane, cause.submission.correlation_id, cause.id)


class _Batch:
    """Submissions on their way into one transaction.

    Attributes:
        accepted: Those that became executions, in order; once they are written.
    """

    def __init__(self, executions: Executions, items: Sequence[Item | Verdict | WeirError]) -> None:
        self.accepted: list[Acceptance] = []
        self._items = items
        self._prepared: dict[int, Acceptance] = {}
        self._marks: dict[int, tuple[_Owned, bytes]] = {}
        #: Of several with the same key the first counts; the others are what it becomes.
        self._firsts: dict[_Owned, int] = {}
        self._owners: dict[_Owned, tuple[bytes, UUID]] = {}
        self._refused: dict[int, WeirError] = {}
        for index, item in enumerate(items):
            if not isinstance(item, Item):
                continue
            if item.mark is not None:
                mark = (item.mark.user, item.mark.slug, item.mark.key)
                self._marks[index] = mark, item.mark.body
                if self._firsts.setdefault(mark, index) != index:
                    continue
            self._prepared[index] = executions.prepare(item.submission)

    def write(self, connection: Connection[Any]) -> None:
        """Insert what can be accepted, and learn whose the keys are that others have."""
        if not self._prepared:
            return
        definitions = {each.submission.command.definition_hash: each for each in self._prepared.values()}
        commands = [each.submission.command for each in definitions.values()]
        connection.execute(
            SQL["define"],
            {
                "hashes": list(definitions),
                "slugs": [command.slug for command in commands],
                "versions": [command.version for command in commands],
                "sources": [command.source for command in commands],
            },
        )
        self._refuse(connection)
        rows = [self._row(index, each) for index, each in self._prepared.items() if index not in self._refused]
        given = {"rows": msgspec.json.encode(rows).decode(), "hours": HOURS}
        written = {found for (found,) in connection.execute(SQL["submit"], given)}
        self.accepted = [each for each in self._prepared.values() if each.id in written]
        self._look_up(connection, [mark for mark, index in self._firsts.items() if not self._is_in(index, written)])

    def verdicts(self) -> list[Verdict]:
        """What became of each, in order; once they are written."""
        accepted = {acceptance.id for acceptance in self.accepted}
        return [self._verdict(index, item, accepted) for index, item in enumerate(self._items)]

    def _verdict(self, index: int, item: Item | Verdict | WeirError, accepted: set[UUID]) -> Verdict:
        if not isinstance(item, Item):
            return item if isinstance(item, Verdict) else Verdict(refusal=item)
        own = self._prepared.get(index)
        if own is not None and own.id in accepted:
            return Verdict(own.id)
        if index in self._refused and index not in self._marks:
            return Verdict(refusal=self._refused[index])
        mark, body = self._marks[index]
        first = self._prepared[self._firsts[mark]]
        owner = (self._marks[self._firsts[mark]][1], first.id) if first.id in accepted else self._owners.get(mark)
        if owner is None and self._firsts[mark] in self._refused:
            return Verdict(refusal=self._refused[self._firsts[mark]])
        if owner is None or owner[0] != body:
            return Verdict(refusal=key_reused())
        return Verdict(owner[1], is_replay=True)

    def _refuse(self, connection: Connection[Any]) -> None:
        """Find those that limits of concurrency forbid; keys in order, so that nobody waits in a circle."""
        limited: dict[tuple[str, str], list[int]] = {}
        for index, acceptance in self._prepared.items():
            try:
                key = acceptance.key()
            except ConcurrencyKeyInvalid as refusal:
                self._refused[index] = refusal
                continue
            if key is not None and acceptance.may_be_refused:
                limited.setdefault((acceptance.submission.command.slug, key), []).append(index)
        for (slug, key), indexes in sorted(limited.items()):
            for accepted, index in enumerate(indexes):
                limit = self._prepared[index].submission.command.concurrency
                try:
                    refuse_if_full(connection, slug, key, 0 if limit is None else limit.max, accepted)
                except ConcurrencyFull as refusal:
                    self._refused.update(dict.fromkeys(indexes[accepted:], refusal))
                    break

    def _row(self, index: int, acceptance: Acceptance) -> dict[str, Any]:
        row = acceptance.row()
        # Definitions go apart, once each.
        del row["source"], row["version"]
        row["inputs"] = dict(acceptance.submission.inputs)
        row["position"] = index
        if index in self._marks:
            (_, _, key), body = self._marks[index]
            row["key_hash"], row["body_hash"] = b64encode(key).decode(), b64encode(body).decode()
        return row

    def _is_in(self, index: int, written: set[UUID]) -> bool:
        return self._prepared[index].id in written

    def _look_up(self, connection: Connection[Any], marks: Sequence[_Owned]) -> None:
        if not marks:
            return
        users, slugs, keys = (list(column) for column in zip(*marks, strict=True))
        found = connection.execute(SQL["taken"], {"users": users, "slugs": slugs, "keys": keys})
        for user, slug, key, body, execution_id in found:
            self._owners[user, slug, bytes(key)] = bytes(body), execution_id


class _Taken(Exception):
    """The key is kept for another submission, or for this one as it was sent before."""


def _take(connection: Connection[Any], whole: WholeKey) -> None:
    given = {"key": whole.key, "body": whole.body, "hours": HOURS}
    if connection.execute(SQL["take"], given).fetchone() is None:
        raise _Taken
