"""Runs one test of a command: the real executor, templates and conditions, and no server.

Steps that only compute, or run others, run. What has an effect does not: its output is given, and it is an error of
the test when it is not. Its parameters are evaluated and checked all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import pydantic
from psycopg import Connection

from dsl.channels import make_channels
from dsl.command import Command
from dsl.errors import Fault, InputsInvalid, LedgerError, StepFailed
from dsl.executor import Executor
from dsl.inputs import check_inputs
from dsl.instrumentation import StepMeter
from dsl.plan import Plan
from dsl.rehearsal.fixtures import NOW, Case, Given, Outcome, instant_of
from dsl.rehearsal.paths import of_every_item
from dsl.settings import ChannelSettings, DslSettings
from dsl.step import (
    Child,
    Effect,
    ExecutionInfo,
    Mutation,
    Operation,
    Step,
    StepContext,
    StepResult,
    StepRow,
    Submitter,
)
from dsl.tables import Tables
from telemetry.clock import to_unix_us
from telemetry.errors import WeirError
from telemetry.events import ErrorFacts
from telemetry.ids import new_id
from telemetry.privacy import error_facts

#: Effects that a rehearsal has for real.
_HARMLESS = frozenset((Effect.NONE, Effect.CHILDREN))
#: The step type whose database effect is another execution, and no row of anybody's.
_RUNS_COMMANDS = "command.run"

#: Of every execution and space of a rehearsal, so that `uuid` is the same every time.
_ID = UUID(int=1)
_OPERATIONS: Mapping[str, Operation] = {"create": "created", "delete": "deleted"}


class OutputNotGiven(LedgerError):
    """A step with an effect was reached, and nothing stands in for it."""

    code = "test.output_not_given"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How a test went.

    Attributes:
        outcome: As of its execution; `refused` when its inputs were.
        result: What the caller gets.
        error: What failed it.
        failed_path: The step that did.
        faults: Why its inputs were refused.
        path: Every step that was reached and how it ended, in order.
        outputs: By path.
        parameters: By path, of every step that ran or was stood in for; what is never a template among them.
        mutations: Rows changed, by path; none where that is none.
    """

    outcome: Outcome
    result: Any = None
    error: Exception | None = None
    failed_path: str | None = None
    faults: tuple[Fault, ...] = ()
    path: tuple[tuple[str, str], ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mutations: Mapping[str, int] = field(default_factory=dict)

    @property
    def error_code(self) -> str | None:
        """The stable code of what failed it, if it has one."""
        return self.error.code if isinstance(self.error, WeirError) else None

    @property
    def error_type(self) -> str | None:
        """The class of what failed it."""
        return None if self.error is None else type(self.error).__name__

    @property
    def error_message(self) -> str:
        """What it says."""
        if isinstance(self.error, pydantic.ValidationError):
            faults = self.error.errors(include_url=False, include_context=False, include_input=False)
            return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        return "" if self.error is None else str(self.error)


def rehearse(command: Command, case: Case, registry: Mapping[str, Step], settings: DslSettings) -> Rehearsal:
    """Run a test.

    Args:
        command: Loaded.
        case: What is given.
        registry: Step types by name.
        settings: Limits.

    Raises:
        OutputNotGiven: A step with an effect is reached, and its output is not given.
    """
    try:
        inputs = check_inputs(command, case.inputs)
    except InputsInvalid as invalid:
        return Rehearsal("refused", error=invalid, faults=invalid.faults)
    clock = _StillClock(instant_of(case.now or NOW))
    info = ExecutionInfo(
        id=_ID,
        correlation_id=_ID,
        slug=command.slug,
        user=case.user,
        space=case.space,
        space_id=_ID,
        dry_run=case.dry_run,
        now=clock.now(),
    )
    record = _Record(case.given)
    meter = StepMeter(
        clock,
        1,
        _Errors(),
        telemetry_on=False,
        dry_run=case.dry_run,
        max_output_bytes=settings.max_output_bytes,
        max_total_bytes=settings.max_execution_output_bytes,
    )
    stand_ins = {name: _StandIn(step, record) for name, step in registry.items()}
    plan = Plan.of(command, info, inputs, case.secrets)
    outcome = Executor(stand_ins, _Tools(clock, settings), meter, record, plan).execute()
    rows = sorted(record.rows, key=lambda row: row.ordinal)
    return Rehearsal(
        outcome="succeeded" if outcome.error is None else "failed",
        result=outcome.result,
        error=outcome.error,
        failed_path=outcome.failed_path,
        path=tuple((row.path, row.outcome) for row in rows),
        outputs={row.path: msgspec.json.decode(row.output) for row in rows if row.output is not None},
        parameters=record.parameters,
        mutations={row.path: row.mutations_count for row in rows if row.mutations_count},
    )


@dataclass
class _Record:
    """The `dsl.step.Ledger` of a rehearsal: keeps what happened, and knows what stands in for what."""

    given: Mapping[str, Given]
    rows: list[StepRow] = field(default_factory=list)
    parameters: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def stands_in(self, path: str) -> Given | None:
        return self.given.get(path) or self.given.get(of_every_item(path))

    @contextmanager
    def effect(self, *, pipelined: bool = False) -> Iterator[_Transaction]:
        yield _Transaction(self.rows)

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        yield _NO_CONNECTION

    def add(self, row: StepRow) -> None:
        self.rows.append(row)

    def flush(self) -> None:
        """Nothing leaves the process."""

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        frozen: list[Any] = msgspec.json.decode(items)
        return frozen


#: Nobody looks at it: what would is stood in for.
_NO_CONNECTION: Any = None


@dataclass
class _Transaction:
    rows: list[StepRow]
    connection: Connection[Any] = _NO_CONNECTION

    def add(self, row: StepRow) -> None:
        self.rows.append(row)

    def accept(self, child: Child) -> None:
        """No other command runs in a rehearsal."""


class _StandIn(Step):
    """A step type as a rehearsal has it: what is given in place of what it does."""

    type = "stand-in"
    effect = Effect.NONE

    def __init__(self, step: Step, record: _Record) -> None:
        self._step = step
        self._record = record
        self.Params = step.Params  # type: ignore[misc] # each instance stands for another type

    def effect_of(self, params: Any) -> Effect:  # noqa: ANN401 - the type's own Params
        return self._step.effect_of(params)

    def run(self, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - the type's own Params
        evaluated = params.model_dump(mode="json", by_alias=True, exclude_unset=True)
        self._record.parameters[context.path] = {**context.spec.literals, **evaluated}
        given = self._record.stands_in(context.path)
        effect = self._step.effect_of(params)
        if given is not None:
            return _given_result(given, effect, context)
        if effect in _HARMLESS:
            return self._step.run(params, context)
        raise OutputNotGiven(
            f"the step {context.path} ({context.spec.type}) has an effect, and nothing stands in for it",
            hint=f"Give it an output: given: {{{context.path}: {{output: ...}}}}",
            path=context.path,
        )

    def preview(self, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - the type's own Params
        return self.run(params, context)


def _given_result(given: Given, effect: Effect, context: StepContext) -> StepResult:
    """What stands in for a step; a database step is taken to change one row unless more is said.

    Raises:
        StepFailed: It is given that it fails.
    """
    if given.error is not None:
        raise StepFailed(given.error)
    step_type = context.spec.type
    changes = int(effect is Effect.DATABASE and step_type != _RUNS_COMMANDS)
    count = changes if given.mutations is None else given.mutations
    entity, _, verb = step_type.rpartition(".")
    mutation = Mutation(entity or step_type, _OPERATIONS.get(verb, "updated"), count=count)
    return StepResult(given.output, (mutation,) if count else ())


class _Errors:
    """The `dsl.instrumentation.DescribeError` of a rehearsal; its errors are looked at as they are."""

    def facts(self, error: BaseException) -> ErrorFacts:
        return error_facts(error)

    def details(self, error: BaseException) -> dict[str, Any]:
        return {}


class _StillClock:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def unix_us(self) -> int:
        return to_unix_us(self._now)

    def monotonic_us(self) -> int:
        return 0


class _Tools:
    """The `dsl.step.StepTools` of a rehearsal."""

    def __init__(self, clock: _StillClock, settings: DslSettings) -> None:
        self._clock = clock
        self.query_max_rows = settings.query_max_rows
        self.max_map_items = settings.max_map_items
        self.tables = Tables(settings.tables)
        self.submitter: Submitter = _NoSubmitter()
        # Without addresses: a rehearsal leaves nothing anywhere.
        self.channels = make_channels(ChannelSettings(), clock)

    def now(self) -> datetime:
        return self._clock.now()

    def new_id(self) -> UUID:
        return new_id(self._clock.unix_us())

    def hash_content(self, value: object) -> bytes:
        return bytes(16)


class _NoSubmitter:
    """No other command runs in a rehearsal: what would run it is stood in for."""

    def prepare(self, *_: object, **__: object) -> NoReturn:
        message = "a rehearsal runs no other commands"
        raise RuntimeError(message)

    def find(self, *_: object) -> None:
        """Nothing was asked for."""
