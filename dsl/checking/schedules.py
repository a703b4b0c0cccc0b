"""`schedules:` of a command file: when the command runs by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from dsl.checking.fields import Fields, kind_of
from dsl.checking.shape import SCHEDULE
from dsl.command import Position
from dsl.errors import ExpressionError, Fault
from dsl.expressions import Compiler, Template
from dsl.faults import Faults, shown
from dsl.nodes import MappingNode, Node, ScalarNode, find
from dsl.nodes import Path as NodePath
from dsl.schedule_inputs import NAMES, as_node
from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.spec import ScheduleSpec, complete, faults_of

_STANDARD = ScheduleSpec()

#: Keys of which a schedule has exactly one.
_TIMING = frozenset({"cron", "every", "at"})


def read_schedules(items: Iterable[Node], compiler: Compiler, faults: Faults) -> Mapping[str, ScheduleSpec]:
    """The schedules of a file by their ids; those that are faulty are left out.

    Args:
        items: The list.
        compiler: Of templates in inputs.
        faults: Where what is wrong goes.
    """
    found: dict[str, ScheduleSpec] = {}
    ids: set[str] = set()
    for index, item in enumerate(items):
        place: NodePath = ("schedules", index)
        if not isinstance(item, MappingNode):
            message = "a schedule is a mapping with `id` and one of `cron`, `every` and `at`"
            faults.add("command.wrong_type", message, place, item.position, found=kind_of(item), expected="a mapping")
            continue
        before = len(faults)
        fields = Fields.of(item, place, faults, SCHEDULE)
        schedule_id, spec = fields.text("id"), _spec(fields, compiler, before)
        if schedule_id is not None and schedule_id in ids:
            message = f"a schedule with the id `{schedule_id}` is here already"
            position = item.entries["id"].value.position
            fields.fault("command.duplicate_id", message, "id", position, schedule_id, "an id of its own")
        elif schedule_id is not None and spec is not None:
            found[schedule_id] = spec
        if schedule_id is not None:
            ids.add(schedule_id)
    return found


def _spec(fields: Fields, compiler: Compiler, before: int) -> ScheduleSpec | None:
    """What it says, if no more than `before` faults were found until all of its keys were read."""
    given = {
        "cron": fields.text("cron"),
        "every": fields.duration("every"),
        "timezone": fields.text("timezone"),
        "jitter": fields.duration("jitter"),
        "misfire": fields.choice("misfire"),
        "window": fields.duration("window"),
        "overlap": fields.choice("overlap"),
        "pause_after": fields.whole("pause_after"),
        "inputs": _inputs(fields, compiler),
        "user": fields.text("user"),
        "space": fields.text("space"),
        "priority": fields.whole("priority"),
    }
    anchor, at = fields.text("anchor"), fields.text("at")
    spec = ScheduleSpec(**cast("Any", {key: value for key, value in given.items() if value is not None}))
    unread = {key for key, value in {**given, "anchor": anchor, "at": at}.items() if value is None} & (
        fields.node.entries.keys() | fields.meant
    )
    for invalid in faults_of(spec, anchor, at):
        # Of a key that could not be read enough is said; and who knows how many of the three there were to be.
        if invalid.key not in unread and not (unread & _TIMING and invalid.key in {*_TIMING, "anchor"}):
            _wrong_timing(fields, invalid)
    return None if len(fields.faults) > before else complete(spec, anchor, at)


def _wrong_timing(fields: Fields, invalid: TimingInvalid) -> None:
    node = fields.get(invalid.key)
    fields.faults.add(
        "command.wrong_timing",
        invalid.message,
        (*fields.path, invalid.key) if node is not None else fields.path,
        fields.node.position if node is None else node.position,
        found=None if node is None else shown(node.value()),
        expected=invalid.expected,
        known=invalid.known,
    )


def _inputs(fields: Fields, compiler: Compiler) -> dict[str, Any] | None:
    """What the command is given; its templates may name the due time and the schedule, and nothing else."""
    node = fields.get("inputs")
    given = fields.mapping("inputs")
    if node is None or given is None:
        return None

    check_templates(node, given.path, compiler, fields.faults)
    value: dict[str, Any] = node.value()
    return value


def check_templates(node: Node, path: NodePath, compiler: Compiler, faults: Faults) -> None:
    """Note what is wrong with the templates in a schedule's inputs, as far as that can be known before it is due."""

    def report(place: NodePath, _: ScalarNode, error: ExpressionError) -> None:
        position = Position(int(str(error.facts["line"])), int(str(error.facts["column"])))
        faults.add("command.template", error.detail, (*path, *place), position, expected="a template")

    for place, template in compiler.value(node, report).templates:
        _check_names(template, (*path, *place), find(node, place), compiler, faults)


def template_faults(inputs: Mapping[str, Any], compiler: Compiler) -> tuple[Fault, ...]:
    """The same of inputs that do not stand in a file."""
    faults = Faults()
    check_templates(as_node(inputs), ("inputs",), compiler, faults)
    return tuple(replace(fault, line=None, column=None) for fault in faults.sorted())


def _check_names(template: Template, path: NodePath, node: Node, compiler: Compiler, faults: Faults) -> None:
    for name in template.names:
        if name.root not in NAMES:
            message = f"`{name.root}` is not a name in the inputs of a schedule"
            expected = " or ".join(NAMES)
            faults.add(
                "command.unknown_name", message, path, node.position, found=name.root, expected=expected, known=NAMES
            )
    for use in template.filters:
        if use.name not in compiler.filters:
            message, known = f"there is no filter `{use.name}`", sorted(compiler.filters)
            faults.add(
                "command.unknown_filter",
                message,
                path,
                use.position,
                found=use.name,
                expected="a filter",
                known=known,
            )
