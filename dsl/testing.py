"""What tests of step types and commands need; for those of users too. No doubles of Postgres.

A step type is tested by itself with `run_step`. What a template would evaluate to is given as a plain value, or as a
function of the names in scope where it depends on them:

    double = make_spec("double", "transform", lambda names: {"template": names["n"] * 2})
    result = run_step(ListMap(), {"items": [1, 2]}, literals={"as": "n"}, blocks={"do": [double]})
    assert result.output["results"] == [2, 4]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, LiteralString, TypeAlias
from uuid import UUID

from psycopg import Connection

from dsl.channels import make_channels
from dsl.command import Command, Position, StepSpec
from dsl.declarations import Table
from dsl.errors import StepFailed
from dsl.settings import ChannelSettings
from dsl.step import BlockResult, Child, Effect, ExecutionInfo, Link, Step, StepContext, StepResult, Submitter
from dsl.steps import REGISTRY
from dsl.tables import Tables
from telemetry.clock import Clock
from telemetry.ids import new_id
from telemetry.privacy import Pseudonyms
from telemetry.testing import NOON, ManualClock

#: The space every database has.
DEFAULT_SPACE_ID = UUID("00000000-0000-7000-8000-000000000001")

#: A declared table, as `[tables.tasks]` in weir.toml would make it, and what makes the table itself.
TASKS = Table(
    name="tasks",
    schema="app",
    relation="tasks",
    key="id",
    readable=("id", "title", "done", "due_on", "effort", "labels", "details", "created_at"),
    writable=("title", "done", "due_on", "effort", "labels", "details"),
    max_rows=100,
    deletable=True,
    entity="tasks",
)
TASKS_SQL: LiteralString = """
create schema app;
create table app.tasks (
    id bigint generated always as identity primary key,
    title text not null constraint tasks_title_not_empty check (title <> ''),
    done boolean not null default false,
    due_on date,
    effort numeric(6, 2),
    labels text[] not null default '{}',
    details jsonb not null default '{}',
    created_at timestamptz not null default now(),
    hidden text not null default 'nobody sees this'
)"""

#: A value, or what makes it from the names in scope.
Value: TypeAlias = Any | Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A `dsl.command.Expression` without a language: a value, or a function of the names in scope."""

    source: Value

    def evaluate(self, names: Mapping[str, object]) -> Any:  # noqa: ANN401 - any native value
        return self.source(names) if callable(self.source) else self.source


class PlainSubmitter:
    """The `dsl.step.Submitter` of a test: knows the commands it is given, and how deep it is."""

    def __init__(self, commands: Sequence[Command] = ()) -> None:
        self._commands = {command.slug: command for command in commands}

    def prepare(  # noqa: PLR0913 - as the port
        self,
        connection: Connection[Any],
        parent: ExecutionInfo,
        slug: str,
        inputs: Mapping[str, Any],
        *,
        link: Link,
        priority: int,
    ) -> Child:
        if slug not in self._commands:
            raise StepFailed(f"there is no command {slug}")
        return Child(new_id(0), self._commands[slug], inputs, link, priority)

    def find(self, connection: Connection[Any], parent: ExecutionInfo, path: str, step_try: int) -> None:
        """Nothing was asked for yet."""


class PlainTools:
    """The `dsl.step.StepTools` of a test, with limits that tests may lower, tables and commands."""

    def __init__(  # noqa: PLR0913 - one keyword per thing a test may want otherwise
        self,
        clock: Clock | None = None,
        *,
        query_max_rows: int = 1000,
        max_map_items: int = 10_000,
        tables: Sequence[Table] = (),
        commands: Sequence[Command] = (),
        channels: ChannelSettings = ChannelSettings(),  # noqa: B008 - it is frozen
    ) -> None:
        self.clock = clock or ManualClock()
        self.query_max_rows = query_max_rows
        self.max_map_items = max_map_items
        self.tables = Tables(tables)
        self.submitter: Submitter = PlainSubmitter(commands)
        self.channels = make_channels(channels, self.clock)
        self._pseudonyms = Pseudonyms(b"a key for tests")

    def now(self) -> datetime:
        return self.clock.now()

    def new_id(self) -> UUID:
        return new_id(self.clock.unix_us())

    def hash_content(self, value: object) -> bytes:
        return self._pseudonyms.content(value)


@dataclass
class PlainChildren:
    """Runs nested steps in memory, without ledger or events, and remembers what it was asked.

    Attributes:
        paths: Of every step that ran, in order.
        skipped: Ids of the steps that were recorded as skipped.
        frozen: Every list that was kept.
    """

    parent: StepContext
    names: Mapping[str, Any]
    paths: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    frozen: list[Sequence[object]] = field(default_factory=list)

    def run(
        self,
        block: Sequence[StepSpec],
        *,
        index: int | None = None,
        names: Mapping[str, object] | None = None,
        settles: bool = False,
    ) -> BlockResult:
        place = self.parent.path if index is None else f"{self.parent.path}[{index}]"
        scope = {**self.names, **(names or {})}
        steps: dict[str, Any] = dict(scope.get("steps", {}))
        outputs: dict[str, Any] = {}
        for spec in block:
            context = replace(self.parent, path=f"{place}.{spec.id}", spec=spec, measures={}, children=None)
            self.paths.append(context.path)
            try:
                output = _run(REGISTRY[spec.type], spec, context, {**scope, "steps": steps}, self).output
            except Exception as error:  # noqa: BLE001 - the parent decides what a failed child means
                return BlockResult(outputs, failed=True, last=None, error=error)
            outputs[spec.id] = output
            steps[spec.id] = {"output": output}
        return BlockResult(outputs, failed=False, last=next(reversed(outputs.values()), None))

    def skip(self, block: Sequence[StepSpec]) -> None:
        self.skipped += [spec.id for spec in block]

    def freeze(self, items: Sequence[object]) -> Sequence[Any]:
        self.frozen.append(list(items))
        return items

    def evaluate(self, name: str) -> Any:  # noqa: ANN401 - any native value
        return self.parent.spec.conditions[name].evaluate(self.names)

    def below(self, context: StepContext, names: Mapping[str, Any]) -> PlainChildren:
        """The same record, seen from a step further in."""
        return replace(self, parent=context, names=names)


def make_execution(**changes: Any) -> ExecutionInfo:  # noqa: ANN401 - fields of ExecutionInfo
    """What a step is told of its execution; `changes` are fields of `ExecutionInfo`."""
    plain = ExecutionInfo(
        id=new_id(0),
        correlation_id=new_id(0),
        slug="test",
        user="tester",
        space="default",
        space_id=DEFAULT_SPACE_ID,
        dry_run=False,
        now=NOON,
    )
    return replace(plain, **changes)


def make_spec(  # noqa: PLR0913 - what a step can hold
    step_id: str,
    step_type: str,
    params: Value = None,
    *,
    literals: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Value] | None = None,
    blocks: Mapping[str, Sequence[StepSpec]] | None = None,
) -> StepSpec:
    """A step as the loader would make it, from values instead of templates."""
    return StepSpec(
        id=step_id,
        type=step_type,
        params=Fixed({} if params is None else params),
        position=Position(1, 1),
        literals=dict(literals or {}),
        conditions={name: Fixed(value) for name, value in (conditions or {}).items()},
        blocks={name: tuple(block) for name, block in (blocks or {}).items()},
    )


def make_command(slug: str = "test", steps: Sequence[StepSpec] = (), **fields: Any) -> Command:  # noqa: ANN401
    """A command as the loader would make it, from values; `fields` are those of `Command`."""
    plain = Command(
        slug=slug,
        steps=tuple(steps),
        inputs={"type": "object"},
        definition_hash=bytes(16),
        document={},
        source="",
        origin="test",
    )
    return replace(plain, **fields)


def make_context(
    spec: StepSpec,
    *,
    connection: Connection[Any] | None = None,
    execution: ExecutionInfo | None = None,
    tools: PlainTools | None = None,
    names: Mapping[str, Any] | None = None,
) -> StepContext:
    """What a step at the top of a command is given; a step that runs others gets `PlainChildren`."""
    context = StepContext(execution or make_execution(), spec.id, spec, tools or PlainTools(), connection=connection)
    context.children = PlainChildren(context, names or {})
    return context


def run_step(  # noqa: PLR0913 - what a step can be given
    step: Step,
    params: Value = None,
    *,
    connection: Connection[Any] | None = None,
    execution: ExecutionInfo | None = None,
    tools: PlainTools | None = None,
    literals: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Value] | None = None,
    blocks: Mapping[str, Sequence[StepSpec]] | None = None,
    names: Mapping[str, Any] | None = None,
) -> StepResult:
    """Run one step as the executor would, its parameters checked by its model; a dry run of an external one previews.

    Raises:
        pydantic.ValidationError: The parameters do not fit.
        Exception: What the step raised.
    """
    spec = make_spec("step", step.type, params, literals=literals, conditions=conditions, blocks=blocks)
    context = make_context(spec, connection=connection, execution=execution, tools=tools, names=names)
    return _run(step, spec, context, names or {}, None)


def _run(
    step: Step, spec: StepSpec, context: StepContext, names: Mapping[str, Any], record: PlainChildren | None
) -> StepResult:
    params = step.Params.model_validate(spec.params.evaluate(names))
    effect = step.effect_of(params)
    if effect is Effect.CHILDREN and record is not None:
        context.children = record.below(context, names)
    if effect is Effect.EXTERNAL and context.execution.dry_run:
        return step.preview(params, context)
    result = step.run(params, context)
    for statement in result.statements:
        context.database().execute(statement.query, statement.parameters)
    return result
