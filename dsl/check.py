"""A read file and the step types there are: a `Command`, or every fault of the file in the order of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from dsl.checking.fields import Fields, cannot_be, found_in
from dsl.checking.input_schema import declared_names, read_inputs
from dsl.checking.references import References, Scope
from dsl.checking.schedules import read_schedules
from dsl.checking.shape import COMMAND, Names
from dsl.checking.steps import StepChecker, StepType, all_ids, ids_of, read_retry
from dsl.command import DEFAULT_LANE, Command, Concurrency
from dsl.document import Document, read
from dsl.errors import CommandInvalid, InputsInvalid
from dsl.expressions import compiler
from dsl.faults import Faults, TooManyFaults
from dsl.inputs import check_inputs
from dsl.nodes import MappingNode, Node, Path, ScalarNode, find
from dsl.schedule_inputs import has_templates
from dsl.settings import DslSettings
from dsl.values import canonical_json


def load(text: str | bytes, registry: Mapping[str, StepType], settings: DslSettings, *, origin: str) -> Command:
    """Read and check a command file.

    Args:
        text: The file; whatever it holds.
        registry: Step types by name.
        settings: Limits.
        origin: `pack`, or the path of the file; stands in the error and in the command.

    Raises:
        CommandInvalid: Every fault of it; the first thousand.
    """
    return check(read(text, settings), registry, settings, origin=origin)


def check(document: Document, registry: Mapping[str, StepType], settings: DslSettings, *, origin: str) -> Command:
    """Check a document.

    Raises:
        CommandInvalid: Every fault, those of the document included.
    """
    faults = Faults(document.faults)
    command = None
    if isinstance(document.root, MappingNode):
        with suppress(TooManyFaults):
            command = _command(document.root, document.text, registry, settings, origin, faults)
    elif document.root is not None:
        message, found = "a command is a mapping with `slug` and `steps`", found_in(document.root)
        faults.add("command.wrong_type", message, (), document.root.position, found=found, expected="a mapping")
    if command is not None and not len(faults) and document.root is not None:
        _check_scheduled_inputs(command, document.root, faults)
    if command is None or len(faults):
        raise CommandInvalid(origin, faults.sorted())
    return command


def definition_hash(document: Mapping[str, Any]) -> bytes:
    """Identity of a definition: layout, comments and the order of keys do not count. 16 bytes."""
    return hashlib.sha256(canonical_json(document)).digest()[:16]


def _command(  # noqa: PLR0913 - one part each
    root: MappingNode,
    source: str,
    registry: Mapping[str, StepType],
    settings: DslSettings,
    origin: str,
    faults: Faults,
) -> Command:
    fields = Fields.of(root, (), faults, COMMAND)
    slug = fields.text("slug")
    inputs = read_inputs(fields.get("inputs"), ("inputs",), faults)
    secrets = _secrets(fields)
    step_ids = frozenset((*all_ids(fields.get("steps")), *all_ids(fields.get("on_failure"))))
    language = compiler(settings)
    references = References(declared_names(inputs), secrets, step_ids, language.filters, faults)
    checker = StepChecker(registry, language, references, faults, settings)
    concurrency = _concurrency(fields, checker, step_ids)
    items = fields.items("steps")
    if items == ():
        position = root.entries["steps"].value.position
        fields.fault("command.wrong_value", "a command has at least one step", "steps", position, None, "a step")
    steps = checker.steps(items or (), ("steps",), Scope())
    ended = Scope(ready=frozenset(ids_of(items or ())))
    on_failure = checker.steps(fields.items("on_failure") or (), ("on_failure",), ended)
    document = root.value()
    return Command(
        slug=slug or "",
        steps=steps,
        inputs=inputs,
        definition_hash=definition_hash(document),
        document=document,
        source=source,
        origin=origin,
        name=fields.text("name") or "",
        version=fields.text("version") or "",
        description=fields.text("description") or "",
        timeout=fields.duration("timeout"),
        retry=read_retry(fields),
        concurrency=concurrency,
        secrets=secrets,
        on_failure=on_failure,
        lane=_lane(fields, settings),
        schedules=read_schedules(fields.items("schedules") or (), language, faults),
    )


def _check_scheduled_inputs(command: Command, root: Node, faults: Faults) -> None:
    """What a schedule gives its command must be what that takes; with templates it is only known when it is due."""
    for index, (schedule_id, spec) in enumerate(command.schedules.items()):
        place: Path = ("schedules", index, "inputs")
        if has_templates(spec.inputs):
            continue
        try:
            check_inputs(command, spec.inputs)
        except InputsInvalid as invalid:
            for fault in invalid.faults:
                message = f"the schedule `{schedule_id}`: {fault.path}: {fault.message}"
                position = find(root, place).position
                faults.add("command.wrong_inputs", message, place, position, found=fault.found, expected=fault.expected)


def _secrets(fields: Fields) -> tuple[str, ...]:
    requires = fields.mapping("requires")
    if requires is None:
        return ()
    rule = requires.rule("secrets", Names).item
    names: list[str] = []
    for index, node in enumerate(requires.items("secrets") or ()):
        name = node.value()
        if isinstance(name, str) and rule.allows(name) and name not in names:
            names.append(name)
            continue
        is_here = name in names
        message = f"the secret `{name}` is listed already" if is_here else cannot_be("secrets[]", node)
        place, expected = (*requires.path, "secrets", index), "each secret once" if is_here else rule.expected
        fields.faults.add("command.wrong_value", message, place, node.position, found=found_in(node), expected=expected)
    return tuple(names)


def _lane(fields: Fields, settings: DslSettings) -> str:
    lane = fields.text("lane")
    if lane is not None and settings.lanes and lane not in settings.lanes:
        position = fields.node.entries["lane"].value.position
        message = f"there is no lane `{lane}`; WEIR_DSL_LANES declares the lanes there are"
        expected = " or ".join(settings.lanes)
        fields.faults.add(
            "command.unknown_lane", message, ("lane",), position, found=lane, expected=expected, known=settings.lanes
        )
    return lane or DEFAULT_LANE


def _concurrency(fields: Fields, checker: StepChecker, step_ids: frozenset[str]) -> Concurrency | None:
    concurrency = fields.mapping("concurrency")
    if concurrency is None:
        return None
    key = None
    node = concurrency.get("key")
    if concurrency.text("key") is not None and isinstance(node, ScalarNode):
        key = checker.template(node, (*concurrency.path, "key"), Scope(pending=step_ids))
    most = concurrency.whole("max")
    on_full = concurrency.choice("on_full") or "queue"
    return None if most is None else Concurrency(key, most, cast("Any", on_full))
