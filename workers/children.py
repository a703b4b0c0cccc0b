"""Executions that steps ask for: looked up and checked here, written by the ledger together with the step's row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import class_row, scalar_row

from dsl.command import Command
from dsl.concurrency import concurrency_key
from dsl.errors import CommandInvalid, ConcurrencyKeyInvalid, InputsInvalid, StepFailed, UnknownCommand
from dsl.inputs import check_inputs
from dsl.library import Library
from dsl.step import Child, ChildState, ExecutionInfo, Link
from telemetry.sql import queries
from workers.errors import ConcurrencyFull
from workers.executions import SQL as EXECUTIONS
from workers.executions import Claim
from workers.slots import refuse_if_full
from workers.submissions import Acceptance, Submission

SQL = queries(__file__)

#: How many commands may have been run by commands above one, itself included.
MAX_DEPTH = 10


class ChildSubmitter:
    """The `dsl.step.Submitter` of a worker process.

    Args:
        library: Where commands are looked up.
        new_id: Makes ids of executions.
    """

    def __init__(self, library: Library, new_id: Callable[[], UUID]) -> None:
        self._library = library
        self._new_id = new_id

    def prepare(  # noqa: PLR0913 - what a submission is made of
        self,
        connection: Connection[Any],
        parent: ExecutionInfo,
        slug: str,
        inputs: Mapping[str, Any],
        *,
        link: Link,
        priority: int,
    ) -> Child:
        cursor = connection.cursor(row_factory=scalar_row)
        depth: int = cursor.execute(SQL["depth"], {"id": parent.id, "most": MAX_DEPTH}).fetchone() or 0
        if depth >= MAX_DEPTH:
            raise StepFailed(
                f"commands have run commands {MAX_DEPTH} deep here", hint="Does a command run itself, by way of others?"
            )
        try:
            command = self._library.get(slug)
            checked = check_inputs(command, inputs)
        except UnknownCommand as error:
            raise StepFailed(error.detail, hint=error.hint, command=slug) from error
        except CommandInvalid as error:
            hint = f"`weir commands validate {slug}` says what is wrong."
            raise StepFailed(f"the file of the command {slug} is faulty", hint=hint, command=slug) from error
        except InputsInvalid as error:
            raise StepFailed(
                error.detail,
                faults=msgspec.to_builtins(list(error.faults)),
                failed_fields=error.failed_fields,
                command=slug,
            ) from error
        if link == "child":
            self._refuse_cycle(connection, parent, command)
        return self._admitted(connection, parent, Child(self._new_id(), command, checked, link, priority))

    def find(self, connection: Connection[Any], parent: ExecutionInfo, path: str, step_try: int) -> ChildState | None:
        cursor = connection.cursor(row_factory=class_row(ChildState))
        return cursor.execute(SQL["child"], {"id": parent.id, "path": path, "step_try": step_try}).fetchone()

    def _admitted(self, connection: Connection[Any], parent: ExecutionInfo, child: Child) -> Child:
        """The child, if its command's limit of concurrency allows that it is accepted in this transaction."""
        command, info = child.command, replace(parent, id=child.id, slug=child.command.slug)
        try:
            key = concurrency_key(command, info, child.inputs)
            if command.concurrency is not None and command.concurrency.on_full == "reject" and not parent.dry_run:
                # Before the key, as the end of a child does; the effect asks for it again at its end.
                connection.execute(EXECUTIONS["lock_parent"], {"id": parent.id})
                refuse_if_full(connection, command.slug, key or "", command.concurrency.max)
        except (ConcurrencyKeyInvalid, ConcurrencyFull) as error:
            raise StepFailed(error.detail, hint=error.hint, command=command.slug) from error
        return child

    def _refuse_cycle(self, connection: Connection[Any], parent: ExecutionInfo, command: Command) -> None:
        waiting = connection.execute(SQL["waiting"], {"id": parent.id}).fetchall()
        if command.definition_hash in {definition_hash for (definition_hash,) in waiting}:
            raise StepFailed(f"{command.slug} would wait for itself", command=command.slug)


def accept(child: Child, parent: Claim) -> Acceptance:
    """An execution that a step of another asked for: for the same user, in the same space and trace."""
    submission = Submission(
        command=child.command,
        inputs=child.inputs,
        user=parent.user_name,
        space=parent.space,
        request_source="command",
        correlation_id=parent.correlation_id,
        priority=child.priority,
        lane=child.command.lane,
        parent_id=parent.id,
        link=child.link,
        parent_path=child.path,
        parent_try=child.step_try,
    )
    return Acceptance(submission, child.id, parent.space_id, child.queued_at_us, child.event_id)
