"""What is asked to be run, and what accepting it writes: its row, then, once that is committed, its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from dsl.command import DEFAULT_LANE, Command, ExecutionInfo
from dsl.concurrency import concurrency_key
from dsl.step import Link
from telemetry.clock import from_unix_us
from telemetry.events import ExecutionQueued, Scope, Source


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody asks to be run; inputs already checked against the command.

    Attributes:
        command: The definition that will run, whatever becomes of its file.
        inputs: Checked, with defaults.
        user: Plain name; operational.
        space: Name of a space; made when it is new.
        request_source: The door it came through.
        correlation_id: The trace it belongs to.
        dry_run: Roll everything back.
        priority: 0 is the most urgent, 9 the least.
        lane: Queue it waits in.
        parent_id: The execution that asked for it, if one did.
        link: How it stands to that one, or to the schedule.
        parent_path: The step that waits for it, if one does.
        parent_try: Which try of that step.
        schedule_id: The schedule that asked for it, if one did.
        run_at: When it is due, aware; at once unless given, or if that has passed.
        expires_in: How long it may wait to be begun once it is due; more than nothing.
    """

    command: Command
    inputs: Mapping[str, Any]
    user: str
    space: str
    request_source: Source
    correlation_id: UUID
    dry_run: bool = False
    priority: int = 5
    lane: str = DEFAULT_LANE
    parent_id: UUID | None = None
    link: Link | Literal["scheduled_by"] | None = None
    parent_path: str | None = None
    parent_try: int | None = None
    schedule_id: UUID | None = None
    run_at: datetime | None = None
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A submission that becomes an execution.

    Attributes:
        submission: What was asked for.
        id: Of the execution.
        space_id: Row of `spaces`.
        queued_at_us: When.
        event_id: Of its `command.execution.queued`, 16 bytes; none while telemetry is off. The same as `id` where that
            was minted in the same moment: then no index of its own is needed to find it.
    """

    submission: Submission
    id: UUID
    space_id: UUID
    queued_at_us: int
    event_id: bytes | None

    @property
    def may_be_refused(self) -> bool:
        """Whether its command wants no more executions of a key accepted than may run."""
        limit = self.submission.command.concurrency
        return limit is not None and limit.on_full == "reject"

    def key(self) -> str | None:
        """What it is counted by; none if its command has no limit.

        Raises:
            ConcurrencyKeyInvalid: The command's key has no value for these inputs.
        """
        given = self.submission
        if given.command.concurrency is None:
            return None
        info = ExecutionInfo(
            id=self.id,
            correlation_id=given.correlation_id,
            slug=given.command.slug,
            user=given.user,
            space=given.space,
            space_id=self.space_id,
            dry_run=given.dry_run,
            now=from_unix_us(self.queued_at_us),
        )
        return concurrency_key(given.command, info, given.inputs)

    def row(self) -> dict[str, Any]:
        """Parameters of the statement `submit`.

        Raises:
            ConcurrencyKeyInvalid: As `key`.
        """
        given = self.submission
        limit = given.command.concurrency
        return {
            "id": self.id,
            "slug": given.command.slug,
            "version": given.command.version,
            "source": given.command.source,
            "definition_hash": given.command.definition_hash,
            "priority": given.priority,
            "lane": given.lane,
            "request_source": given.request_source,
            "dry_run": given.dry_run,
            "user_name": given.user,
            "space_id": self.space_id,
            "correlation_id": given.correlation_id,
            "parent_id": given.parent_id,
            "link": given.link,
            "parent_path": given.parent_path,
            "parent_try": given.parent_try,
            "schedule_id": given.schedule_id,
            "inputs": Jsonb(given.inputs),
            "run_at": given.run_at,
            "expires_us": None if given.expires_in is None else given.expires_in // timedelta(microseconds=1),
            "queued_at": from_unix_us(self.queued_at_us),
            "concurrency_key": self.key(),
            "concurrency_max": None if limit is None else limit.max,
            "queued_event_id": self.event_id and UUID(bytes=self.event_id),
        }

    def event(self, user_id: bytes | None) -> ExecutionQueued | None:
        """What to record once the row is committed; `user_id` is the user's pseudonym."""
        if self.event_id is None:
            return None
        given = self.submission
        scope = Scope(
            correlation_id=given.correlation_id.bytes,
            request_source=given.request_source,
            user_id=user_id,
            space_id=self.space_id.bytes,
            execution_id=self.id.bytes,
            parent_id=None if given.parent_id is None else given.parent_id.bytes,
            command_slug=given.command.slug,
            definition_hash=given.command.definition_hash,
            dry_run=given.dry_run,
        )
        return ExecutionQueued(self.event_id, self.queued_at_us, scope, given.priority)
