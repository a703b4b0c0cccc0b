"""Running an execution that has ended once more: from its beginning, or from where it failed.

Either is a new execution, linked to the one it follows; that one stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, scalar_row
from psycopg_pool import ConnectionPool

from dsl.command import Command
from dsl.faults import nearest
from dsl.inputs import check_inputs
from dsl.library import Library
from dsl.step import Link
from telemetry.events import Source
from telemetry.sql import queries
from workers.errors import DeadLetterHandled, ExecutionConflict, ExecutionNotFound, StepNotFound
from workers.executions import FINAL_STATES, Executions, reaching_store
from workers.idempotency import Idempotency, Mark
from workers.submissions import Submission
from workers.takeover import Done, Takeover, take_over

SQL = queries(__file__)


@dataclass(frozen=True, slots=True)
class Original:
    """What is run once more."""

    slug: str
    state: str
    inputs: dict[str, Any]
    user_name: str
    space: str
    correlation_id: UUID
    dry_run: bool
    priority: int
    lane: str
    definition_hash: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Again:
    """An execution that follows another.

    Attributes:
        id: The new one.
        is_replay: Whether it was there already, under the key it was asked for with.
        runs_again: Maps that begin anew for their list is another now, as `Takeover` has it.
    """

    id: UUID
    is_replay: bool = False
    runs_again: tuple[str, ...] = ()


class Resumption:
    """Accepts executions that follow others.

    Args:
        pool: In autocommit mode.
        executions: Accepts.
        library: Compiles stored definitions.
    """

    def __init__(self, pool: ConnectionPool, executions: Executions, library: Library) -> None:
        self._pool = pool
        self._executions = executions
        self._library = library

    def retry(  # noqa: PLR0913 - one argument per choice
        self,
        execution_id: UUID,
        source: Source,
        command: Command | None = None,
        *,
        by: str | None = None,
        once: bool = False,
        key: str | None = None,
    ) -> Again:
        """Run it again from its beginning, with the same inputs, as a new execution.

        Args:
            execution_id: One that has ended.
            source: The door it comes through.
            command: What runs; by default the definition that ran.
            by: Who asks, if that is known.
            once: Only if nobody has dealt with it as a dead letter yet.
            key: Of idempotency: asked again with it, for a day, it is the same new execution. It is one of the user and
                command of the execution.

        Raises:
            DeadLetterHandled: Somebody has, and `once` was asked for.
            ExecutionNotFound: There is none with this id.
            ExecutionConflict: It has not ended.
            IdempotencyConflict: The key was used for another request.
            InputsInvalid: The inputs are not what `command` declares.
        """
        with reaching_store(), self._pool.connection() as connection:
            original = _original(connection, execution_id)
        mark = _mark(key, original, _said("retry", execution_id, command))
        if (found := self._find(mark)) is not None:
            return Again(found, is_replay=True)
        submission = self._submission(execution_id, original, source, command, "retry_of")

        def close(connection: Connection[Any], new: UUID) -> None:
            _close_letter(connection, execution_id, new, by, once=once)

        return Again(*self._accept(submission, close, mark))

    def resume(  # noqa: PLR0913 - one argument per choice
        self,
        execution_id: UUID,
        source: Source,
        *,
        since: str | None = None,
        command: Command | None = None,
        by: str | None = None,
        once: bool = False,
        key: str | None = None,
    ) -> Again:
        """Run it again from where it failed, as a new execution.

        Args:
            execution_id: One that has ended, and did not succeed unless `since` says where to begin.
            source: The door it comes through.
            since: Id of a step of the command, from which on everything runs anew.
            command: What runs; by default the definition that ran. Steps are taken over that are the same in both by
                path and type, but for those of a map whose `items` or `as` are written otherwise now: it begins anew.
            by: Who asks, if that is known.
            once: Only if nobody has dealt with it as a dead letter yet.
            key: Of idempotency, as for `retry`.

        Raises:
            DeadLetterHandled: Somebody has, and `once` was asked for.
            ExecutionNotFound: There is none with this id.
            ExecutionConflict: It has not ended, was a dry run, or has succeeded.
            IdempotencyConflict: The key was used for another request.
            StepNotFound: The command has no step `since`.
            InputsInvalid: The inputs are not what `command` declares.
        """
        with reaching_store(), self._pool.connection() as connection:
            original = _original(connection, execution_id)
            _require_resumable(original, since)
        mark = _mark(key, original, _said("resume", execution_id, command) | {"from": since})
        found = self._find(mark)
        if found is not None and command is None:
            return Again(found, is_replay=True)
        definition = command or self._library.from_source(original.source, original.definition_hash)
        anew = _from(definition, since)
        with reaching_store(), self._pool.connection() as connection:
            taken = self._takeover(connection, execution_id, original, definition, anew)
        if found is not None:
            return Again(found, is_replay=True, runs_again=tuple(taken.runs_again))
        submission = self._submission(execution_id, original, source, command, "resumed_from")

        def copy(connection: Connection[Any], new: UUID) -> None:
            _close_letter(connection, execution_id, new, by, once=once)
            given = {"id": new, "original": execution_id}
            connection.execute(SQL["take_over"], {**given, "paths": taken.steps})
            connection.execute(SQL["take_over_items"], {**given, "paths": taken.lists})

        new, is_replay = self._accept(submission, copy, mark)
        return Again(new, is_replay, tuple(taken.runs_again))

    def _find(self, mark: Mark | None) -> UUID | None:
        """What was asked for before, whatever became since of what it depends on."""
        return None if mark is None else Idempotency(self._pool, self._executions).find(mark)

    def _accept(
        self, submission: Submission, also: Callable[[Connection[Any], UUID], None], mark: Mark | None
    ) -> tuple[UUID, bool]:
        """The new execution, and whether another request with the same key was first."""
        if mark is None:
            return self._executions.submit(submission, also), False
        return Idempotency(self._pool, self._executions).submit(submission, mark, also)

    def _takeover(
        self, connection: Connection[Any], execution_id: UUID, original: Original, command: Command, anew: list[str]
    ) -> Takeover:
        """What it left; of an execution that has ended, that does not change any more."""
        given = {"id": execution_id}
        done = connection.cursor(row_factory=class_row(Done)).execute(SQL["done"], given).fetchall()
        lists = connection.cursor(row_factory=scalar_row).execute(SQL["lists"], given).fetchall()
        is_same = command.definition_hash == original.definition_hash
        before = None if is_same else self._library.document_of(original.source)
        return take_over(before, command, done, lists, anew)

    def _submission(
        self,
        execution_id: UUID,
        original: Original,
        source: Source,
        command: Command | None,
        link: Link,
    ) -> Submission:
        definition = command or self._library.from_source(original.source, original.definition_hash)
        return Submission(
            command=definition,
            inputs=original.inputs if command is None else check_inputs(definition, original.inputs),
            user=original.user_name,
            space=original.space,
            request_source=source,
            correlation_id=original.correlation_id,
            dry_run=original.dry_run,
            priority=original.priority,
            lane=original.lane,
            parent_id=execution_id,
            link=link,
        )


def handled(connection: Connection[Any], execution_id: UUID) -> DeadLetterHandled:
    """Why a dead letter cannot be dealt with again."""
    action, requeued_as = connection.execute(SQL["handled"], {"id": execution_id}).fetchone() or ("requeued", None)
    if action == "dropped":
        return DeadLetterHandled("it was dropped already", hint="`weir executions retry` runs it all the same.")
    follower = "an execution that is gone" if requeued_as is None else str(requeued_as)
    return DeadLetterHandled(
        f"it was requeued already, as {follower}", hint="`weir executions retry` runs it once more all the same."
    )


def _close_letter(connection: Connection[Any], execution_id: UUID, new: UUID, by: str | None, *, once: bool) -> None:
    """What is run again is no dead letter any more. Of two at once the second waits here, and finds it so."""
    given = {"id": execution_id, "user_name": by, "requeued_as": new}
    if connection.execute(SQL["close_letter"], given).fetchone() is None and once:
        raise handled(connection, execution_id)


def _original(connection: Connection[Any], execution_id: UUID) -> Original:
    found = connection.cursor(row_factory=class_row(Original)).execute(SQL["original"], {"id": execution_id}).fetchone()
    if found is None:
        raise ExecutionNotFound(f"there is no execution {execution_id}", hint="`weir executions list` shows them.")
    if found.state not in FINAL_STATES:
        raise ExecutionConflict(f"the execution is {found.state}", hint="Wait for its end, or cancel it first.")
    return found


def _require_resumable(original: Original, since: str | None) -> None:
    if original.dry_run:
        raise ExecutionConflict("a dry run keeps nothing to go on from", hint="Retry it instead.")
    if original.state == "succeeded" and since is None:
        raise ExecutionConflict(
            "the execution has succeeded", hint="Name the step to begin from, or retry it as a whole."
        )


def _mark(key: str | None, original: Original, said: Mapping[str, object]) -> Mark | None:
    return None if key is None else Mark.of(key, original.user_name, original.slug, said)


def _said(verb: str, execution_id: UUID, command: Command | None) -> dict[str, object]:
    """What makes two requests to run something again the same; a definition is what it means, as everywhere."""
    corrected = None if command is None else command.definition_hash.hex()
    return {verb: str(execution_id), "definition": corrected}


def _from(command: Command, since: str | None) -> list[str]:
    """Ids of the steps that run anew whatever became of them."""
    if since is None:
        return []
    ids = [spec.id for spec in command.steps]
    if since not in ids:
        near = nearest(since, ids)
        hint = f"Did you mean {near}?" if near else f"It has {', '.join(ids)}."
        raise StepNotFound(f"the command has no step {since!r}", hint=hint)
    return ids[ids.index(since) :]
