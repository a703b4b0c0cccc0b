"""Commands as immutable values: what a checked file means. No clock, no socket, no table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, Protocol
from uuid import UUID

from dsl.scheduling.spec import ScheduleSpec
from telemetry.events import Category

_NONE: Mapping[str, Any] = MappingProxyType({})

#: Where executions wait of commands that name no lane.
DEFAULT_LANE = "default"


class Expression(Protocol):
    """A compiled template, a tree of them, or a condition."""

    def evaluate(self, names: Mapping[str, object]) -> Any:  # noqa: ANN401 - any native value
        """Its value, given everything in scope.

        Raises:
            ExpressionError: A name is missing, or a limit was passed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text; both from 1."""

    line: int
    column: int


#: What may go otherwise the next time; what a step was given does not.
RETRYABLE: tuple[Category, ...] = ("network", "timeout", "rate_limit", "server", "internal")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step or command is tried again.

    Attributes:
        max_attempts: The first time included.
        backoff: Bound of the wait before the second try; it doubles with every other.
        max_backoff: The largest bound.
        on: Categories of errors that are worth another try.
    """

    max_attempts: int = 1
    backoff: timedelta = timedelta(seconds=2)
    max_backoff: timedelta = timedelta(minutes=5)
    on: tuple[Category, ...] = RETRYABLE


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many executions with the same key may run at once.

    Attributes:
        key: Evaluates to what executions of the command are counted by; without it all are counted together.
        max: How many of them.
        on_full: Whether one too many waits, or is refused.
    """

    key: Expression | None
    max: int
    on_full: Literal["queue", "reject"] = "queue"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step as written.

    Attributes:
        id: Unique within its list; letters, digits, `_` and `-`.
        type: Registered name of its step type.
        params: Evaluates to the parameters (`with:` without blocks, conditions and literals, which are below).
        condition: The step's own `if:`; evaluates to a bool.
        blocks: Nested step lists of `with:` by name (`do`, `then`, `else`).
        conditions: Conditions of `with:` by name (`if`).
        literals: Values of `with:` that are never templates, by name (`as`, `on_error`).
        timeout: Longest run.
        retry: How often it is tried.
        position: Where it starts in the file.
    """

    id: str
    type: str
    params: Expression
    position: Position
    condition: Expression | None = None
    blocks: Mapping[str, tuple[StepSpec, ...]] = field(default_factory=lambda: _NONE)
    conditions: Mapping[str, Expression] = field(default_factory=lambda: _NONE)
    literals: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    timeout: timedelta | None = None
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A checked command.

    Attributes:
        slug: Its name everywhere: lower case, digits, `.`, `_`, `-`.
        steps: At least one.
        inputs: JSON Schema (2020-12) of an object; defaults inside.
        definition_hash: First 16 bytes of the SHA-256 of `document` as canonical JSON; comments do not count.
        document: The file as plain JSON values.
        source: The text it was read from.
        origin: `pack`, or the path of its file.
        schedules: When it runs by itself, by id.
        lane: Whose workers run it.
    """

    slug: str
    steps: tuple[StepSpec, ...]
    inputs: Mapping[str, Any]
    definition_hash: bytes
    document: Mapping[str, Any]
    source: str
    origin: str
    name: str = ""
    version: str = ""
    description: str = ""
    timeout: timedelta | None = None
    retry: Retry | None = None
    concurrency: Concurrency | None = None
    secrets: tuple[str, ...] = ()
    on_failure: tuple[StepSpec, ...] = field(default=())
    schedules: Mapping[str, ScheduleSpec] = field(default_factory=lambda: _NONE)
    lane: str = DEFAULT_LANE


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """What a step may know of the execution it is part of; `execution` in templates.

    Attributes:
        id: The execution.
        correlation_id: The whole trace.
        slug: Its command.
        user: The plain name (operational; telemetry sees only its hash).
        space: Name of the space.
        space_id: Row of `spaces`.
        dry_run: Whether everything will be rolled back.
        now: Fixed when the execution was first claimed; aware UTC.
    """

    id: UUID
    correlation_id: UUID
    slug: str
    user: str
    space: str
    space_id: UUID
    dry_run: bool
    now: datetime
