"""Fixture files: tests of one command, in YAML. Read as command files are, every fault with its line and column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from dsl.checking.fields import Fields, found_in
from dsl.checking.parameters import check_values, keys_of
from dsl.command import Command, StepSpec
from dsl.document import read
from dsl.errors import CommandInvalid, Fault
from dsl.faults import Faults, TooManyFaults, listed
from dsl.nodes import ListNode, MappingNode, Node, Path, ScalarNode, find
from dsl.rehearsal.paths import without_items
from dsl.settings import DslSettings
from dsl.step import StepParams

#: What the tests of a file run at unless they say otherwise.
NOW = "2026-01-01T00:00:00Z"

#: How a test of a command may end: as its execution would, or `refused` when its inputs are.
Outcome = Literal["succeeded", "failed", "refused"]
StepOutcome = Literal["succeeded", "failed", "skipped"]


class Given(StepParams):
    """What stands in for a step: it does not run."""

    output: JsonValue = Field(default=None, description="What later steps see of it.")
    error: str | None = Field(default=None, max_length=1000, description="Instead: that it fails, with this message.")
    mutations: int | None = Field(
        default=None, ge=0, description="Rows it changes; by default 1 for a step whose effect is in the database."
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.error is not None and self.output is not None:
            message = "either `output` or `error`"
            raise ValueError(message)
        return self


class ExpectedError(StepParams):
    """What is expected of the error of a test that fails; what is not named may be anything."""

    step: str | None = Field(default=None, description="Path of the step that fails.")
    code: str | None = Field(default=None, description="The error's stable code, such as `step.failed`.")
    type: str | None = Field(default=None, description="Its class.")
    message: str | None = Field(default=None, description="A part of its message.")


class Expected(StepParams):
    """What is expected; what is not named may be anything."""

    outcome: Outcome | None = Field(
        default=None,
        description="How it ends; by default `failed` with `error`, `refused` with `faults`, else `succeeded`.",
    )
    path: list[str | dict[str, StepOutcome]] | None = Field(
        default=None, description="Every step that is reached, in order: its path, or `path: outcome` if not succeeded."
    )
    result: JsonValue = Field(default=None, description="What the caller gets.")
    outputs: dict[str, JsonValue] = Field(default_factory=dict, description="Outputs, by the paths of their steps.")
    parameters: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="Parameters that steps were given, by path; those that are named."
    )
    mutations: dict[str, int] | None = Field(
        default=None, description="Rows changed, by the paths of all steps that change any."
    )
    error: ExpectedError | None = Field(default=None, description="What fails it.")
    faults: dict[str, str] | None = Field(
        default=None, description="Why the inputs are refused: every path, such as `inputs.body`, and its code."
    )

    @property
    def how(self) -> Outcome:
        """How it should end."""
        implied: Outcome = "refused" if self.faults is not None else "failed" if self.error is not None else "succeeded"
        return self.outcome or implied


class Case(StepParams):
    """One test."""

    name: str = Field(min_length=1, max_length=200, description="A sentence that says what is so.")
    inputs: dict[str, JsonValue] = Field(default_factory=dict, description="What a submission gives.")
    now: str | None = Field(default=None, description="When it runs (ISO 8601).")
    user: str = Field(default="tester", max_length=200, description="`execution.user`.")
    space: str = Field(default="default", max_length=63, description="`execution.space`.")
    dry_run: bool = Field(default=False, description="`execution.dry_run`.")
    secrets: dict[str, str] = Field(default_factory=dict, description="Secrets, by name.")
    given: dict[str, Given] = Field(
        default_factory=dict, description="What stands in for steps, by path; `each[*].save` for every item."
    )
    expected: Expected = Field(default_factory=Expected, description="What is expected of it.")

    @field_validator("now")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            instant_of(text)
        return text


class FixtureFile(StepParams):
    """A file of tests of one command."""

    command: str = Field(min_length=1, max_length=1000, description="Slug, or path of the file, seen from this one.")
    now: str = Field(default=NOW, description="When tests run that do not say (ISO 8601).")
    given: dict[str, Given] = Field(
        default_factory=dict, description="What stands in for steps in every test that does not say."
    )
    tests: list[Case] = Field(min_length=1, description="The tests.")

    @field_validator("now")
    @classmethod
    def _is_time(cls, text: str) -> str:
        instant_of(text)
        return text


@dataclass(frozen=True, slots=True)
class Fixtures:
    """A fixture file, read.

    Attributes:
        file: What it says.
        root: Where it says so.
        source: Its path.
    """

    file: FixtureFile
    root: MappingNode
    source: str

    def no_command(self, message: str, nearest: str | None = None) -> Fault:
        """What is said of a file whose command is not there."""
        where = find(self.root, ("command",)).position
        found, expected = self.file.command, "the slug of a command, or the path of its file, seen from this one"
        return Fault("test.unknown_command", message, "command", where.line, where.column, found, expected, nearest)

    def cases(self) -> Iterator[Case]:
        """Its tests, what the file says for all of them filled in."""
        for case in self.file.tests:
            yield case.model_copy(update={"now": case.now or self.file.now, "given": {**self.file.given, **case.given}})


def instant_of(text: str) -> datetime:
    """A time of a fixture file. Raises `ValueError` if it is none."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        message = f"a time such as {NOW}"
        raise ValueError(message) from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def read_fixtures(text: bytes, settings: DslSettings, *, source: str) -> Fixtures:
    """Read a fixture file.

    Raises:
        CommandInvalid: Every fault of it.
    """
    document = read(text, settings)
    faults = Faults(document.faults)
    file = None
    if isinstance(document.root, MappingNode):
        try:
            file = _file(document.root, faults)
        except TooManyFaults:
            file = None
    elif document.root is not None:
        message = "a fixture file is a mapping with `command` and `tests`"
        found = found_in(document.root)
        faults.add("test.wrong_type", message, (), document.root.position, found=found, expected="a mapping")
    if file is None or len(faults) or not isinstance(document.root, MappingNode):
        raise CommandInvalid(source, tuple(_of_tests(faults)))
    return Fixtures(file, document.root, source)


def check_paths(fixtures: Fixtures, command: Command) -> None:
    """Every step that is named must be one of the command's.

    Raises:
        CommandInvalid: Some are not.
    """
    faults = Faults()
    known = sorted(set(_paths(command.steps, "")))
    for place, node in _named(fixtures.root):
        name = str(place[-1]) if place[-1:] != ("step",) else str(node.value())
        if without_items(name) not in known:
            message = f"{command.slug} has no step `{name}`"
            faults.add(
                "test.unknown_step", message, place, node.position, found=name, expected=_some(known), known=known
            )
    if len(faults):
        raise CommandInvalid(fixtures.source, faults.sorted())


def _file(root: MappingNode, faults: Faults) -> FixtureFile | None:
    keys = keys_of(FixtureFile)
    Fields(root, (), faults).keys(keys, of="a fixture file")
    nodes = {name: entry.value for name, entry in root.entries.items() if name in keys}
    checked = check_values(FixtureFile, nodes, (), (), faults)
    _check_names(root, faults)
    return checked if isinstance(checked, FixtureFile) else None


def _check_names(root: MappingNode, faults: Faults) -> None:
    """Tests are told apart by their names."""
    tests = root.get("tests")
    names: set[object] = set()
    for index, test in enumerate(tests.items if isinstance(tests, ListNode) else ()):
        name = test.get("name") if isinstance(test, MappingNode) else None
        if not isinstance(name, ScalarNode):
            continue
        if name.scalar in names:
            message, place = f"a test named {found_in(name)} is here already", ("tests", index, "name")
            expected = "a name of its own"
            faults.add("test.duplicate_name", message, place, name.position, found=found_in(name), expected=expected)
        names.add(name.scalar)


def _of_tests(faults: Faults) -> Iterator[Any]:
    """Faults of keys and values are named like those of commands; here they are those of tests."""
    for fault in faults.sorted():
        yield replace(fault, code=fault.code.replace("command.", "test."))


def _named(root: MappingNode) -> Iterator[tuple[Path, Node]]:
    """Every place of a file that names a step: the path of the key, and where it stands."""
    yield from _keys(root, ("given",))
    tests = root.get("tests")
    for index, test in enumerate(tests.items if isinstance(tests, ListNode) else ()):
        if not isinstance(test, MappingNode):
            continue
        at: Path = ("tests", index)
        yield from _keys(test, ("given",), at)
        expected = test.get("expected")
        if isinstance(expected, MappingNode):
            for key in ("outputs", "parameters", "mutations"):
                yield from _keys(expected, (key,), (*at, "expected"))
            yield from _steps(expected, (*at, "expected"))


def _keys(node: MappingNode, key: tuple[str], at: Path = ()) -> Iterator[tuple[Path, Node]]:
    inner = node.get(key[0])
    for name, entry in inner.entries.items() if isinstance(inner, MappingNode) else ():
        yield (*at, *key, name), entry.key


def _steps(expected: MappingNode, at: Path) -> Iterator[tuple[Path, Node]]:
    path, error = expected.get("path"), expected.get("error")
    for item in path.items if isinstance(path, ListNode) else ():
        if isinstance(item, MappingNode):
            for name, entry in item.entries.items():
                yield (*at, "path", name), entry.key
        else:
            yield (*at, "path", str(item.value())), item
    step = error.get("step") if isinstance(error, MappingNode) else None
    if step is not None and step.value() is not None:
        yield (*at, "error", "step"), step


def _paths(steps: Iterable[StepSpec], prefix: str) -> Iterator[str]:
    for spec in steps:
        yield prefix + spec.id
        for block in spec.blocks.values():
            yield from _paths(block, f"{prefix}{spec.id}.")


def _some(names: list[str]) -> str | None:
    return listed(names) if len(names) <= 12 else None  # noqa: PLR2004 - as many as can be read at once
