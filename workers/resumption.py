"""Running an execution that has ended once more: from its beginning, or from where it failed.

Either is a new execution, linked to the one it follows; that one stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from dsl.command import Command, StepSpec
from dsl.faults import nearest
from dsl.inputs import check_inputs
from dsl.library import Library
from dsl.step import Link
from telemetry.events import Source
from telemetry.sql import queries
from workers.errors import DeadLetterHandled, ExecutionConflict, ExecutionNotFound, StepNotFound
from workers.executions import FINAL_STATES, Executions, reaching_store
from workers.submissions import Submission

SQL = queries(__file__)

_ROOT = re.compile(r"[.\[]")
_INDEX = re.compile(r"\[\d+\]")


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
class _Done:
    path: str
    step_type: str


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

    def retry(
        self,
        execution_id: UUID,
        source: Source,
        command: Command | None = None,
        *,
        by: str | None = None,
        once: bool = False,
    ) -> UUID:
        """Run it again from its beginning, with the same inputs; the id of the new execution.

        Args:
            execution_id: One that has ended.
            source: The door it comes through.
            command: What runs; by default the definition that ran.
            by: Who asks, if that is known.
            once: Only if nobody has dealt with it as a dead letter yet.

        Raises:
            DeadLetterHandled: Somebody has, and `once` was asked for.
            ExecutionNotFound: There is none with this id.
            ExecutionConflict: It has not ended.
            InputsInvalid: The inputs are not what `command` declares.
        """
        with reaching_store(), self._pool.connection() as connection:
            original = _original(connection, execution_id)
        submission = self._submission(execution_id, original, source, command, "retry_of")

        def close(connection: Connection[Any], new: UUID) -> None:
            _close_letter(connection, execution_id, new, by, once=once)

        return self._executions.submit(submission, close)

    def resume(  # noqa: PLR0913 - one argument per choice
        self,
        execution_id: UUID,
        source: Source,
        *,
        since: str | None = None,
        command: Command | None = None,
        by: str | None = None,
        once: bool = False,
    ) -> UUID:
        """Run it again from where it failed; the id of the new execution.

        Args:
            execution_id: One that has ended, and did not succeed unless `since` says where to begin.
            source: The door it comes through.
            since: Id of a step of the command, from which on everything runs anew.
            command: What runs; by default the definition that ran. Steps are taken over that are the same in both by
                path and type.
            by: Who asks, if that is known.
            once: Only if nobody has dealt with it as a dead letter yet.

        Raises:
            DeadLetterHandled: Somebody has, and `once` was asked for.
            ExecutionNotFound: There is none with this id.
            ExecutionConflict: It has not ended, was a dry run, or has succeeded.
            StepNotFound: The command has no step `since`.
            InputsInvalid: The inputs are not what `command` declares.
        """
        with reaching_store(), self._pool.connection() as connection:
            original = _original(connection, execution_id)
            if original.dry_run:
                raise ExecutionConflict("a dry run keeps nothing to go on from", hint="Retry it instead.")
            if original.state == "succeeded" and since is None:
                raise ExecutionConflict(
                    "the execution has succeeded", hint="Name the step to begin from, or retry it as a whole."
                )
            done = connection.cursor(row_factory=class_row(_Done)).execute(SQL["done"], {"id": execution_id}).fetchall()
        submission = self._submission(execution_id, original, source, command, "resumed_from")
        anew = _from(submission.command, since)
        paths = _taken_over(submission.command, done, anew)

        def take_over(connection: Connection[Any], new: UUID) -> None:
            _close_letter(connection, execution_id, new, by, once=once)
            connection.execute(SQL["take_over"], {"id": new, "original": execution_id, "paths": paths})
            connection.execute(SQL["take_over_items"], {"id": new, "original": execution_id, "anew": anew})

        return self._executions.submit(submission, take_over)

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


def _taken_over(command: Command, done: Sequence[_Done], anew: Sequence[str]) -> list[str]:
    """Paths of the steps that need not run again."""
    types = dict(_types(command.steps, ""))
    return [
        step.path
        for step in done
        if types.get(_INDEX.sub("", step.path)) == step.step_type and _ROOT.split(step.path)[0] not in anew
    ]


def _types(steps: Sequence[StepSpec], prefix: str) -> Iterator[tuple[str, str]]:
    """The type of each step by its path without indexes."""
    for spec in steps:
        path = prefix + spec.id
        yield path, spec.type
        blocks: Mapping[str, Sequence[StepSpec]] = spec.blocks
        for block in blocks.values():
            yield from _types(block, f"{path}.")
