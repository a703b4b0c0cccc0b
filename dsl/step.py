"""The contract of a step type, and the ports it needs.

A step type is one class in one file of `dsl/steps/`. It writes no telemetry: the executor wraps every run with timing,
outcome, error facts, its ledger row and its event. All of the contract is here, long as it is: whoever writes a step
type reads one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Literal, LiteralString, Protocol, TypeAlias
from uuid import UUID

from psycopg import Connection
from pydantic import BaseModel, ConfigDict

from dsl.command import Command, StepSpec
from dsl.command import ExecutionInfo as ExecutionInfo  # noqa: PLC0414 - part of the contract
from dsl.errors import StepFailed
from dsl.faults import Wrong
from dsl.settings import DslSettings
from dsl.tables import Tables
from telemetry.events import ErrorFacts, FieldFault

#: Kinds of change to a row.
Operation = Literal["created", "updated", "deleted"]

#: What a step run can end as.
Outcome = Literal["succeeded", "failed", "skipped"]

#: How an execution stands to the one whose step asked for it.
Link = Literal["child", "follows", "retry_of", "resumed_from"]


class Effect(Enum):
    """What a step does to the world, which decides how it is made durable."""

    NONE = "none"  # its row waits in memory
    READS = "reads"  # likewise; it gets a connection outside any transaction
    DATABASE = "database"  # effect, result and mutation records commit together, behind the fence
    EXTERNAL = "external"  # what waits is flushed first; at least once
    CHILDREN = "children"  # only runs other steps


class StepParams(BaseModel):
    """Base of every parameter model: unknown keys are faults, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=False)


ParamsModel: TypeAlias = type[StepParams]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change, or one statement's changes to a declared table.

    Attributes:
        entity: `fragment`, `notification`, or the table's name.
        operation: What was done.
        entity_id: Which one; none when `count` rows were changed by one statement, and in a dry run of a creation.
        changed_fields: Names of declared columns; never values.
        count: Rows.
        before: Keyed hash of the content before, 16 bytes.
        after: Keyed hash of the content after, 16 bytes.
    """

    entity: str
    operation: Operation
    entity_id: UUID | None = None
    changed_fields: tuple[str, ...] = ()
    count: int = 1
    before: bytes | None = None
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class MutationEvent:
    """The event of a mutation; its row keeps both, so that the event can be made from the row alone.

    Attributes:
        event_id: 16 bytes.
        rows: How many it stands for: more than one in a summary.
    """

    event_id: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement whose answer nobody needs; it commits with the step's row.

    Attributes:
        query: Its text.
        parameters: By name.
    """

    query: LiteralString
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a step asks for, checked; it exists once the step's row is committed, and only then.

    Attributes:
        id: Of the new execution.
        command: What will run, whatever becomes of its file.
        inputs: Checked, with defaults.
        link: `follows` runs on its own; a `child` is waited for.
        path: The step that waits for it.
        step_try: Which try of that step.
        priority: 0 is the most urgent, 9 the least.
        queued_at_us: When it was asked for; set with its row.
        event_id: Of its `command.execution.queued`, 16 bytes; set with its row, none while telemetry is off.
    """

    id: UUID
    command: Command
    inputs: Mapping[str, Any]
    link: Link
    priority: int = 5
    path: str | None = None
    step_try: int | None = None
    queued_at_us: int = 0
    event_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChildState:
    """An execution that a step waits for.

    Attributes:
        is_final: Whether it has ended.
        result: What it answered.
    """

    id: UUID
    state: str
    is_final: bool
    result: Any


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step made.

    Attributes:
        output: JSON-able; seen by later steps as `steps.<id>.output`.
        mutations: Every change it made.
        fragment_id: The fragment it was about, if one.
        measures: Its own numbers and enums; keys of `telemetry.events.MEASURES`, or of the type's own `measures`.
        children: Executions it asks for; none in a dry run.
        waits: Whether the step can only end after another execution has: then it is run again, and nothing of this
            result counts but an execution that it asks for. In a dry run that runs within the step.
        statements: What is still to be done in the database, in this order, by a step whose effect is on it.
    """

    output: Any = None
    mutations: tuple[Mutation, ...] = ()
    fragment_id: UUID | None = None
    measures: Mapping[str, int | float | str] = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    waits: bool = False
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockResult:
    """How a nested list of steps went.

    Attributes:
        outputs: Output of each step that ran, by step id.
        failed: Whether one failed (the rest of the list did not run).
        last: Output of the last step that ran.
        error: What the failed one raised.
    """

    outputs: Mapping[str, Any]
    failed: bool
    last: Any
    error: Exception | None = None


class Children(Protocol):
    """Runs nested steps on behalf of `list.map` and `condition`."""

    def run(
        self,
        block: Sequence[StepSpec],
        *,
        index: int | None = None,
        names: Mapping[str, object] | None = None,
        settles: bool = False,
    ) -> BlockResult:
        """Run the steps in order under the caller's path, until one fails.

        Args:
            block: Steps of one of the caller's blocks.
            index: Item number for a path such as `triage[17].note`; none for `check.then_step`.
            names: Added to the scope: the item's name and `loop`.
            settles: Whether the caller goes on when one fails. Then it is not run again when the execution is resumed,
                unless its own `retry` says so.
        """
        ...

    def skip(self, block: Sequence[StepSpec]) -> None:
        """Record every step of a branch that was not taken as skipped."""
        ...

    def freeze(self, items: Sequence[object]) -> Sequence[Any]:
        """Keep a list in the ledger before the first child, and return the one to use (on a resume: the kept one)."""
        ...

    def evaluate(self, name: str) -> Any:  # noqa: ANN401 - any native value
        """The value of one of the caller's own `conditions`."""
        ...


@dataclass(slots=True)
class StepContext:
    """What a running step is given besides its parameters.

    Attributes:
        execution: Who it runs for.
        path: Its address in the execution.
        spec: The step as written: literals, blocks.
        tools: Clock, ids, hashes, limits.
        step_try: Which try of the step this is.
        connection: DATABASE: inside the fenced transaction (do not commit). READS: outside any. Else none.
        children: CHILDREN: runs nested steps. Else none.
        measures: Numbers and enums known so far; what the event of a step that fails will carry.
    """

    execution: ExecutionInfo
    path: str
    spec: StepSpec
    tools: StepTools
    step_try: int = 1
    connection: Connection[Any] | None = None
    children: Children | None = None
    measures: dict[str, int | float | str] = field(default_factory=dict)

    def database(self) -> Connection[Any]:
        """The connection of a step whose effect is READS or DATABASE."""
        if self.connection is None:
            message = f"step type {self.spec.type} asked for a database its effect does not declare"
            raise RuntimeError(message)
        return self.connection

    def nested(self) -> Children:
        """What runs the blocks of a step whose effect is CHILDREN."""
        if self.children is None:
            message = f"step type {self.spec.type} asked to run steps, which its effect does not declare"
            raise RuntimeError(message)
        return self.children

    def limit(self, asked: int) -> int:
        """The `limit` that a step asks for, if it may.

        Raises:
            StepFailed: It is more than a query may return.
        """
        most = self.tools.query_max_rows
        if asked > most:
            hint = "Ask for fewer, or raise WEIR_DSL_QUERY_MAX_ROWS."
            raise StepFailed(f"limit is {asked}; a query returns at most {most}", hint=hint)
        return asked


class Submitter(Protocol):
    """Accepts executions on behalf of steps. The ledger writes them, together with the step's row."""

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
        """Look the command up and check the inputs; nothing is written.

        Args:
            connection: To look at the parent's own parents.
            parent: Who asks.
            slug: Of a loaded command.
            inputs: As given.
            link: How the new execution stands to the parent.
            priority: 0 to 9.

        Raises:
            StepFailed: There is no such command, its file is faulty, the inputs are not what it declares, or commands
                run commands too deep.
        """
        ...

    def find(self, connection: Connection[Any], parent: ExecutionInfo, path: str, step_try: int) -> ChildState | None:
        """The execution that a try of a step waits for, if it asked for one."""
        ...


class StepTools(Protocol):
    """What steps share: the clock, ids, hashes and limits of the process they run in, tables, and other commands."""

    query_max_rows: int
    max_map_items: int
    tables: Tables
    submitter: Submitter
    #: By name; each a `dsl.channels.channel.Channel`.
    channels: Mapping[str, Any]

    def now(self) -> datetime:
        """The wall clock, aware UTC (not the execution's fixed `now`)."""
        ...

    def new_id(self) -> UUID:
        """A new UUIDv7."""
        ...

    def hash_content(self, value: object) -> bytes:
        """Keyed hash, 16 bytes, of a JSON-able value; for `Mutation.before` and `.after`."""
        ...


class Step(ABC):
    """A step type; its docstring's first line is what `weir steps list` says of it.

    Class attributes:
        type: Registered name, `noun.verb` or a verb.
        effect: What it does to the world.
        pipelined: Of a step with effect on the database: whether its statements may wait for each other and for its
            ledger row, and be sent together (libpq's pipeline mode): fewer round trips. Then what fails without its
            result being fetched is heard of after `run`, where no `timeout` of the step ends it; there is no `COPY` and
            no `rowcount`, and a `rollback`, a `transaction()` or another setting of the connection is refused.
        Params: Model of its evaluated parameters (everything of `with:` that is not named below).
        blocks: Keys of `with:` that are step lists, and whether each is required.
        conditions: Keys of `with:` that are Liquid conditions without braces; all required.
        Literals: Model of the keys of `with:` that are never templates; checked when the file is loaded.
        waits_if: Key of `Literals`, true or false: when it is true the step waits for another execution, which takes no
            running time and is bound by no `timeout` of the step, so that a file with one there is refused.
        measures: Numbers (none) and enums (their words) that only this type reports of itself, by name. Of a user's
            step type; those of built-in ones are in `telemetry.events.MEASURES`.
    """

    type: ClassVar[str]
    effect: ClassVar[Effect]
    pipelined: ClassVar[bool] = False
    Params: ClassVar[ParamsModel]
    blocks: ClassVar[Mapping[str, bool]] = {}
    conditions: ClassVar[tuple[str, ...]] = ()
    Literals: ClassVar[ParamsModel | None] = None
    waits_if: ClassVar[str | None] = None
    measures: ClassVar[Mapping[str, tuple[str, ...] | None]] = {}

    def wrong(self, given: Mapping[str, Any], settings: DslSettings) -> Iterable[Wrong]:
        """What else is wrong with a step as it is written in a file; by default nothing.

        Args:
            given: Its `with:`, templates as their text.
            settings: Of the process that loads the file.
        """
        return ()

    def narrowed(self, settings: DslSettings) -> Mapping[str, Any]:
        """What the configuration allows of its `with:`, as JSON Schema, for editors; by default nothing is added.

        Args:
            settings: Of the process that makes the schema.
        """
        return {}

    def effect_of(self, params: Any) -> Effect:  # noqa: ANN401 - the type's own Params
        """The effect of a run with these parameters; by default the class's."""
        return self.effect

    def only_adds(self, params: Any) -> bool:  # noqa: ANN401 - the type's own Params
        """Whether a run asks the database for nothing: all it does there is in the `statements` of its result.

        Such an effect may wait in memory with the step's row, and commit together with those of other steps. By default
        no step's does.
        """
        return False

    @abstractmethod
    def run(self, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - the type's own Params
        """Do it.

        Raises:
            StepFailed: Its input does not allow it to succeed.
        """
        ...

    def preview(self, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - the type's own Params
        """EXTERNAL only: what a dry run would have sent. Must not send anything."""
        message = f"step type {self.type} has an external effect and no preview"
        raise RuntimeError(message)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A ledger row: one run of one step. Carries its event's id and every field of that event.

    Attributes:
        ordinal: Order within the execution, from 1; goes on over attempts.
        output: JSON text.
        error: The whole error for the execution's owner; operational, never telemetry.
        facts: What telemetry may know of it.
        failed_fields: Which values did not validate, likewise.
        event_id: 16 bytes; none while telemetry is off.
        mutation_events: For each of `mutations` its event, if it has one.
        children: Executions that are accepted with this row.
        statements: What is done in the database with this row.
        runs_others: Whether it is a step that has steps inside, whose time is theirs.
    """

    path: str
    step_type: str
    attempt: int
    step_try: int
    ordinal: int
    outcome: Outcome
    occurred_at_us: int
    duration_us: int
    output: str | None = None
    error: Mapping[str, Any] | None = None
    facts: ErrorFacts | None = None
    failed_fields: tuple[FieldFault, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    fragment_id: UUID | None = None
    measures: Mapping[str, int | float | str] = field(default_factory=dict)
    event_id: bytes | None = None
    mutation_events: tuple[MutationEvent | None, ...] = ()
    children: tuple[Child, ...] = ()
    statements: tuple[Statement, ...] = ()
    runs_others: bool = False

    @property
    def mutations_count(self) -> int:
        """Rows changed."""
        return sum(mutation.count for mutation in self.mutations)


def child_output(command: str, execution_id: UUID | None, state: str, result: object) -> dict[str, object]:
    """What a step that waited for a command shows of it."""
    found = None if execution_id is None else str(execution_id)
    return {"execution_id": found, "command": command, "state": state, "result": result}


class EffectTransaction(Protocol):
    """An open, fenced transaction of one database step."""

    connection: Connection[Any]

    def add(self, row: StepRow) -> None:
        """Store the step's row and its mutations; they commit with the effect."""
        ...

    def accept(self, child: Child) -> None:
        """Accept an execution that the step will wait for; it commits with the effect."""
        ...


class Control(Protocol):
    """Who may end a run between two of its steps."""

    def before_step(self, path: str) -> None:
        """Called before each step that is about to run. Its time begins now: that of its templates counts.

        Raises:
            LedgerError: The run ends here.
            OuterTimedOut: A step around it took longer than its `timeout`.
        """
        ...

    def within(self, timeout: timedelta | None) -> AbstractContextManager[None]:
        """Around the steps inside the step that was begun last: they have what it has left of its time, together.

        Raises:
            StepTimedOut: They took longer than `timeout`; in place of the `OuterTimedOut` that one of them met.
        """
        ...

    def running(self, timeout: timedelta | None, connection: Connection[Any] | None) -> AbstractContextManager[None]:
        """Around the own code of the step that was begun last, which may be interrupted there.

        Raises:
            StepTimedOut: It took longer than `timeout`, or its templates did, and then its code is not begun.
            OuterTimedOut: A step around it did before.
            StepInterrupted: The run has to stop.
        """
        ...


class Unstopped:
    """A `Control` that lets everything run to its end."""

    def before_step(self, path: str) -> None:
        """Go on."""

    def within(self, timeout: timedelta | None) -> AbstractContextManager[None]:
        return nullcontext()

    def running(self, timeout: timedelta | None, connection: Connection[Any] | None) -> AbstractContextManager[None]:
        return nullcontext()


class Ledger(Protocol):
    """Where step rows go. Events follow their rows, after the commit."""

    def effect(self, *, pipelined: bool = False) -> AbstractContextManager[EffectTransaction]:
        """One transaction: the effect, what waits and its row, committed under the lock of the execution's row.

        Args:
            pipelined: Whether the effect may be sent together with the rest (`Step.pipelined`).

        Raises:
            FenceLost: Another claim owns the execution; nothing was written.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection[Any]]:
        """A connection for queries, outside any transaction (in a dry run inside it). It sees what steps before did."""
        ...

    def add(self, row: StepRow) -> None:
        """Let a row wait in memory for the next transaction, at most the flush interval."""
        ...

    def flush(self) -> None:
        """Commit what waits, now: before anything leaves the process."""
        ...

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        """Keep the list of a map (JSON text) before its first child; returns the list kept first under that path."""
        ...
