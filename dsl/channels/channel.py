"""The contract of a channel: a way to tell someone something. `notify` steps and alerts use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from psycopg import Connection

from dsl.notifications import MessageLevel
from dsl.step import Effect


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be told, to whom, and who says so.

    Attributes:
        text: For the person; never telemetry, never a log line.
        user: Plain name of whom it is for.
        space_id: Row of `spaces`.
        execution_id: The execution that tells; none for an alert.
        origin: Registered address of what tells, such as a step path.
        at: When; aware UTC.
        key: The same however often this is told, by which a receiver knows it.
        kind: What it is, for programs: `notification`, `alert.fire`.
        facts: The same as the text, for programs.
    """

    level: MessageLevel
    text: str
    user: str
    space_id: UUID
    execution_id: UUID | None
    origin: str
    at: datetime
    key: UUID
    kind: str = "notification"
    facts: Mapping[str, Any] = field(default_factory=dict)


class Channel(Protocol):
    """A way to tell someone something.

    Class attributes:
        effect: DATABASE: delivers by the connection it is given, inside its transaction. EXTERNAL: leaves the process.
    """

    effect: ClassVar[Effect]

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        """Tell it; the id of the row that was made, if one was.

        Raises:
            RecordInvalid: The message cannot be kept.
            ChannelFailed: It was not taken; if it is retryable, it may be later.
        """
        ...
