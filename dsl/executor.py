"""Runs a plan: steps in order, each wrapped by `dsl.instrumentation`, each row handed to the ledger.

The effect of a step decides how it becomes durable (`dsl.step.Effect`): a database step runs inside one fenced
transaction that also takes its row; the row of any other step waits in the ledger. Nothing here knows of queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import msgspec

from dsl.command import StepSpec
from dsl.errors import ChildFailed, LedgerError, StepInterrupted, Stopped, Suspended
from dsl.instrumentation import StepMeter, StepRun, Totals
from dsl.plan import Plan
from dsl.restored import NOTHING, Restored
from dsl.retries import may_retry
from dsl.step import (
    BlockResult,
    Control,
    Effect,
    Ledger,
    Step,
    StepContext,
    StepResult,
    StepRow,
    StepTools,
    Unstopped,
    child_output,
)
from telemetry.events import Stoppage

UNSTOPPED = Unstopped()

#: What the paths of `on_failure` steps begin with.
ON_FAILURE = "on_failure:"

#: The step type whose output is the result the caller gets.
RESPOND = "respond"


Unsuccessful: TypeAlias = Literal["failed", "cancelled", "dead", "expired"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan went.

    Attributes:
        result: Output of the last `respond` that ran, else of the last step.
        error: What failed it, unchanged; none when it succeeded.
        failed_path: The step that raised it.
        totals: Statistics for the completion event.
        unsuccessful: What it ended as, if it did not succeed.
        stopped: How it was brought to its end, if it did not end by itself.
    """

    result: Any
    error: Exception | None
    failed_path: str | None
    totals: Totals
    unsuccessful: Unsuccessful | None = None
    stopped: Stoppage | None = None

    @property
    def state(self) -> Literal["succeeded"] | Unsuccessful:
        """The final state."""
        if self.unsuccessful is not None:
            return self.unsuccessful
        return "succeeded" if self.error is None else "failed"


@dataclass(slots=True)
class _Frame:
    """One list of steps being run: where it is, and what its templates see.

    Attributes:
        settles: Whether what is around it goes on when it fails: then it has failed in every later attempt too.
    """

    prefix: str
    names: dict[str, Any]
    settles: bool = False
    outputs: dict[str, Any] = field(default_factory=dict)
    last: Any = None

    def publish(self, step_id: str, output: object) -> None:
        """Let later steps see an output. A list of steps sees its own outputs and those of the lists around it."""
        self.names["steps"][step_id] = {"output": output}
        self.outputs[step_id] = output
        self.last = output

    def nested(self, prefix: str, names: Mapping[str, object], *, settles: bool) -> _Frame:
        """A list inside this one; what it publishes stays in it."""
        seen = {**self.names, **names, "steps": dict(self.names["steps"])}
        return _Frame(prefix, seen, settles or self.settles)


class Executor:
    """Runs one plan against one ledger; made anew for each attempt.

    Args:
        registry: Step types by name.
        tools: What steps share.
        meter: Makes this attempt's ledger rows.
        ledger: Where they go.
        plan: What to run.
        restored: What earlier attempts left; it is not done again.
        control: Asked before each step whether the run goes on.
        has_budget: Asked before each retry whether there may be another now; if not it is put off.
        may_wait: Whether effects that only add to the database may wait with their rows. Then one that is refused is
            nobody's failure, but a `LedgerUnavailable`: the steps are to be done again, without waiting.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        registry: Mapping[str, Step],
        tools: StepTools,
        meter: StepMeter,
        ledger: Ledger,
        plan: Plan,
        *,
        restored: Restored = NOTHING,
        control: Control = UNSTOPPED,
        has_budget: Callable[[], bool] = lambda: True,
        may_wait: bool = False,
    ) -> None:
        self._registry = registry
        self._tools = tools
        self._meter = meter
        self._ledger = ledger
        self._plan = plan
        self._restored = restored
        self._control = control
        self._has_budget = has_budget
        self._may_wait = may_wait
        response = restored.last_of(RESPOND)
        self._response = None if response is None else (response.value(),)
        self._failure: tuple[Exception, str] | None = None
        self._steps: dict[str, Any] = {}
        for step in restored.steps.values():
            if step.is_own:
                meter.totals.count_path(step.path, step.outcome, step.mutations_count)

    def execute(self) -> Outcome:
        """Run every step, until one fails.

        Raises:
            LedgerError: The run cannot be kept any more; whoever owns the execution now decides.
        """
        frame = self._root()
        error = self.run_list(self._plan.command.steps, frame)
        if error is not None:
            return Outcome(None, error, self._failure[1] if self._failure else None, self._meter.totals)
        return Outcome(self._answer(frame), None, None, self._meter.totals)

    def _answer(self, frame: _Frame) -> Any:  # noqa: ANN401 - any JSON value
        return self._response[0] if self._response else frame.last

    def clean_up(self) -> Exception | None:
        """Run `on_failure`, which sees what the steps before left; the error of the first that fails, if one does.

        Raises:
            LedgerError: As `execute`.
        """
        frame = self._root(ON_FAILURE)
        for spec in self._plan.command.steps:
            done = self._restored.done(spec.id)
            if done is not None:
                frame.publish(spec.id, done.value())
        return self.run_list(self._plan.command.on_failure, frame)

    @property
    def totals(self) -> Totals:
        """Statistics so far."""
        return self._meter.totals

    def _root(self, prefix: str = "") -> _Frame:
        return _Frame(prefix, {**self._plan.names, "steps": self._steps})

    def run_list(self, steps: Sequence[StepSpec], frame: _Frame) -> Exception | None:
        """Run steps in order; the error of the first that fails, if one does."""
        for spec in steps:
            try:
                self._run_step(spec, frame)
            except LedgerError:
                raise
            except Exception as error:  # noqa: BLE001 - recorded with its step; the caller decides what it means
                return error
        return None

    def skip(self, spec: StepSpec, prefix: str) -> None:
        """Record a step that does not run."""
        path = prefix + spec.id
        if self._restored.done(path) is None:
            self._keep(self._meter.start(spec, path).skipped())

    def freeze(self, path: str, items: Sequence[object]) -> Sequence[Any]:
        """Keep a list before its first child runs; the list that an earlier attempt kept goes before."""
        kept = self._restored.frozen.get(path)
        return self._ledger.freeze(path, self._meter.encode(items)) if kept is None else kept

    def _run_step(self, spec: StepSpec, frame: _Frame) -> None:
        path = frame.prefix + spec.id
        done = self._restored.done(path)
        if done is not None:
            frame.publish(spec.id, done.value())
            return
        self._control.before_step(path)
        before = self._restored.failure(path) if frame.settles else None
        if before is not None and not may_retry(spec.retry, self._restored.tries(path), before):
            raise before
        step_try = self._restored.tries(path) + 1
        run = self._meter.start(spec, path, step_try)
        context = StepContext(self._plan.info, path, spec, self._tools, step_try)
        try:
            if spec.condition is not None and not spec.condition.evaluate(frame.names):
                self._keep(run.skipped())
                frame.publish(spec.id, None)
                return
            step = self._registry[spec.type]
            params = step.Params.model_validate(spec.params.evaluate(frame.names))
            row = self._perform(step, params, context, run, frame)
        except LedgerError:
            raise
        except Exception as error:
            self._keep(run.failed(error, context.measures))
            told = self._told(error, spec, path, step_try)
            if told is error:
                raise
            raise told from error
        # What later steps see is what the ledger keeps, so that a resumed run sees the same.
        output = None if row.output is None else msgspec.json.decode(row.output)
        if spec.type == RESPOND:
            self._response = (output,)
        frame.publish(spec.id, output)

    def _told(self, error: Exception, spec: StepSpec, path: str, step_try: int) -> Exception:
        """What the error of a step means to the run: it stops, it is put off, or the step has failed of this."""
        if isinstance(error, StepInterrupted):
            return Stopped(error.reason, "interrupted", path)
        if may_retry(spec.retry, step_try, error) and not self._plan.info.dry_run:
            return Suspended("step_failed", path, error, spec.retry, step_try, rationed=not self._has_budget())
        if self._failure is None or self._failure[0] is not error:
            self._failure = (error, path)
        return error

    def _perform(
        self,
        step: Step,
        params: Any,  # noqa: ANN401 - the step type's own Params
        context: StepContext,
        run: StepRun,
        frame: _Frame,
    ) -> StepRow:
        effect = step.effect_of(params)
        if effect is Effect.DATABASE and not (self._may_wait and step.only_adds(params)):
            with self._ledger.effect(pipelined=step.pipelined) as transaction:
                context.connection = transaction.connection
                with self._control.running(context.spec.timeout, transaction.connection):
                    result = step.run(params, context)
                if result.waits and not context.execution.dry_run:
                    for child in result.children:
                        transaction.accept(self._meter.accepted(child))
                else:
                    row = run.succeeded(self._inline(result, context.path) if result.waits else result)
                    transaction.add(row)
            if result.waits and not context.execution.dry_run:
                raise Suspended("waiting", context.path)
            self._meter.totals.add(row)
            return row
        if effect is Effect.READS:
            with self._ledger.reading() as connection:
                context.connection = connection
                with self._control.running(context.spec.timeout, connection):
                    result = step.run(params, context)
        elif effect is Effect.EXTERNAL:
            result = self._reach_out(step, params, context)
        elif effect is Effect.CHILDREN:
            context.children = _Nested(self, context, frame)
            with self._control.within(context.spec.timeout):
                result = step.run(params, context)
        else:
            with self._control.running(context.spec.timeout, None):
                result = step.run(params, context)
        row = run.succeeded(result)
        self._keep(row)
        return row

    def _inline(self, asked: StepResult, path: str) -> StepResult:
        """Run a command within this dry run, which will be undone as a whole; what it answers."""
        (child,) = asked.children
        plan = self._plan.of(child.command, replace(self._plan.info, slug=child.command.slug), child.inputs)
        frame = _Frame(f"{path}/", {**plan.names, "steps": {}})
        response, self._response = self._response, None
        error = self.run_list(child.command.steps, frame)
        answer = self._answer(frame)
        self._response = response
        if error is not None:
            raise ChildFailed(f"the command {child.command.slug} would fail") from error
        return StepResult(child_output(child.command.slug, None, "succeeded", answer))

    def _reach_out(self, step: Step, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - the type's own
        """What leaves the process never depends on a row that could still be lost."""
        if context.execution.dry_run:
            return step.preview(params, context)
        self._ledger.flush()
        with self._control.running(context.spec.timeout, None):
            return step.run(params, context)

    def _keep(self, row: StepRow) -> None:
        self._ledger.add(row)
        self._meter.totals.add(row)


class _Nested:
    """The `dsl.step.Children` of one running step."""

    def __init__(self, executor: Executor, context: StepContext, frame: _Frame) -> None:
        self._executor = executor
        self._context = context
        self._frame = frame

    def run(
        self,
        block: Sequence[StepSpec],
        *,
        index: int | None = None,
        names: Mapping[str, object] | None = None,
        settles: bool = False,
    ) -> BlockResult:
        path = self._context.path
        prefix = f"{path}." if index is None else f"{path}[{index}]."
        frame = self._frame.nested(prefix, names or {}, settles=settles)
        error = self._executor.run_list(block, frame)
        return BlockResult(frame.outputs, error is not None, frame.last, error)

    def skip(self, block: Sequence[StepSpec]) -> None:
        for spec in block:
            self._executor.skip(spec, f"{self._context.path}.")

    def freeze(self, items: Sequence[object]) -> Sequence[Any]:
        return self._executor.freeze(self._context.path, items)

    def evaluate(self, name: str) -> Any:  # noqa: ANN401 - any native value
        return self._context.spec.conditions[name].evaluate(self._frame.names)
