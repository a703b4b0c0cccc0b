"""What of a sound command does nothing. It loads and runs; `weir commands validate` warns of it.

Only what is certain is told: conditions that name nothing, such as `false` or `1 > 2`, maps over a list that is written
out and empty, inputs and secrets that no template names, commands that are run and are not there. Whether a step always
fails, or a condition on inputs is never true, cannot be decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from dsl.checking.input_schema import is_whole_schema
from dsl.command import Command, Expression, StepSpec
from dsl.document import Document
from dsl.errors import ExpressionError, Fault
from dsl.expressions import Condition, Constant, Tree, compiler
from dsl.faults import nearest
from dsl.nodes import Entry, ListNode, MappingNode, Node, Path, ScalarNode, find, format_path
from dsl.schedule_inputs import has_templates
from dsl.settings import DslSettings
from dsl.templates.analysis import Name

#: Step types whose blocks can be told to be out of reach.
_CHOICE, _MAP = "condition", "list.map"
#: The one that names another command.
_RUN = "command.run"


def warnings(
    command: Command,
    document: Document,
    settings: DslSettings,
    slugs: Collection[str] | None = None,
    now: datetime | None = None,
) -> tuple[Fault, ...]:
    """What is there in vain, in the order of the text.

    Args:
        command: Loaded.
        document: What it was loaded from.
        settings: Limits.
        slugs: Of all commands there are; none when nobody knows.
        now: By which schedules that are due once may have passed; none when nobody knows.
    """
    root = document.root
    if root is None:
        return ()
    found = [
        *_steps(command.steps, ("steps",), root),
        *_steps(command.on_failure, ("on_failure",), root),
        *_unused(command, root, settings),
    ]
    if slugs is not None:
        found += _runs_nothing(command, root, {*slugs, command.slug})
    if now is not None:
        found += _past(command, root, now)
    return tuple(sorted(found, key=lambda fault: (fault.line or 0, fault.column or 0)))


def _steps(steps: Sequence[StepSpec], path: Path, root: Node) -> Iterator[Fault]:
    for index, spec in enumerate(steps):
        place: Path = (*path, index)
        if spec.condition is not None and _always(spec.condition) is False:
            yield _never((*place, "if"), root, "this step never runs: its condition is always false")
            continue
        out_of_reach = _out_of_reach(spec, find(root, place))
        for name, block in spec.blocks.items():
            inner: Path = (*place, "with", name)
            if name in out_of_reach and block:
                yield _never(inner, root, f"these steps never run: {out_of_reach[name]}")
            else:
                yield from _steps(block, inner, root)


def _out_of_reach(spec: StepSpec, node: Node) -> dict[str, str]:
    """Blocks of a step that never run, and why."""
    if spec.type == _CHOICE and "if" in spec.conditions:
        always = _always(spec.conditions["if"])
        if always is not None:
            return {"else" if always else "then": f"`if` is always {'true' if always else 'false'}"}
    if spec.type == _MAP and isinstance(spec.params, Tree):
        items = find(node, ("with", "items"))
        if isinstance(items, ListNode) and not items.items:
            return {"do": "`items` is always empty"}
    return {}


def _always(condition: Expression) -> bool | None:
    """What a condition is every time; none when that depends on anything."""
    if not isinstance(condition, Condition | Constant) or condition.names:
        return None
    try:
        return bool(condition.evaluate({}))
    except ExpressionError:
        return None  # it always fails, which is not the same


def _never(path: Path, root: Node, message: str) -> Fault:
    position = find(root, path).position
    return Fault("command.never_runs", message, format_path(path), position.line, position.column)


def _runs_nothing(command: Command, root: Node, slugs: Collection[str]) -> Iterator[Fault]:
    """Steps that run a command that is not there."""
    for path, spec in (*_each(command.steps, ("steps",)), *_each(command.on_failure, ("on_failure",))):
        slug = spec.literals.get("command")
        if spec.type == _RUN and slug not in slugs:
            place: Path = (*path, "with", "command")
            yield _unknown_command(str(slug), place, find(root, place), slugs)


def unknown_commands(root: Node, slugs: Collection[str]) -> tuple[Fault, ...]:
    """The same of a file that does not load, as far as its steps can be told."""
    found: list[Fault] = []

    def look(node: Node | None, path: Path) -> None:
        if isinstance(node, ListNode):
            for index, item in enumerate(node.items):
                look(item, (*path, index))
        elif isinstance(node, MappingNode):
            kind, place = node.get("type"), (*path, "with", "command")
            named = find(node, ("with", "command")) if isinstance(node.get("with"), MappingNode) else None
            if isinstance(kind, ScalarNode) and kind.value() == _RUN and isinstance(named, ScalarNode):
                slug = named.value()
                if isinstance(slug, str) and not has_templates(slug) and slug not in slugs:
                    found.append(_unknown_command(slug, place, named, slugs))
            for key, entry in node.entries.items():
                look(entry.value, (*path, key))

    for name in ("steps", "on_failure"):
        look(root.get(name) if isinstance(root, MappingNode) else None, (name,))
    return tuple(found)


def _unknown_command(slug: str, place: Path, node: Node, slugs: Collection[str]) -> Fault:
    return Fault(
        "command.unknown_command", f"there is no command {slug}", format_path(place), node.position.line,
        node.position.column, slug, "the slug of a command", nearest(slug, sorted(slugs)),
    )  # fmt: skip


def _past(command: Command, root: Node, now: datetime) -> Iterator[Fault]:
    """Schedules that were due once, before now: they run no more."""
    for index, (schedule_id, spec) in enumerate(command.schedules.items()):
        if spec.at is not None and spec.at <= now:
            message = f"the schedule `{schedule_id}` is never due: its time has passed"
            yield _never(("schedules", index, "at"), root, message)


def _each(steps: Iterable[StepSpec], path: Path) -> Iterator[tuple[Path, StepSpec]]:
    """All steps, those in blocks among them, and where each is."""
    for index, spec in enumerate(steps):
        yield (*path, index), spec
        for name, block in spec.blocks.items():
            yield from _each(block, (*path, index, "with", name))


def _unused(command: Command, root: Node, settings: DslSettings) -> Iterator[Fault]:
    """Inputs and secrets that nothing names."""
    names = list(_names(command, root, settings))
    used = {(name.root, name.segments[1]) for name in names if len(name.segments) > 1}
    whole = any(name.root == "inputs" and not isinstance((*name.segments, None)[1], str) for name in names)
    path, declared = _declared(root)
    for key, entry in declared.items() if not whole else ():
        if ("inputs", key) not in used:
            message = f"the input `{key}` is used nowhere"
            yield _in_vain("command.unused_input", message, (*path, key), entry.key)
    listed = find(root, ("requires", "secrets"))
    for index, item in enumerate(listed.items if isinstance(listed, ListNode) else ()):
        if ("secrets", item.value()) not in used:
            message = f"the secret `{item.value()}` is used nowhere"
            yield _in_vain("command.unused_secret", message, ("requires", "secrets", index), item)


def _declared(root: Node) -> tuple[Path, Mapping[str, Entry]]:
    """Where the inputs are declared, and each by its name."""
    path: Path = ("inputs",)
    node = root.get("inputs") if isinstance(root, MappingNode) else None
    if isinstance(node, MappingNode) and is_whole_schema(node):
        path, node = (*path, "properties"), node.get("properties")
    return path, node.entries if isinstance(node, MappingNode) else {}


def _in_vain(code: str, message: str, path: Path, node: Node) -> Fault:
    return Fault(code, message, format_path(path), node.position.line, node.position.column)


def _names(command: Command, root: Node, settings: DslSettings) -> Iterator[Name]:
    """Everything that templates and conditions name."""
    for _, spec in (*_each(command.steps, ()), *_each(command.on_failure, ())):
        for expression in (spec.params, spec.condition, *spec.conditions.values()):
            if isinstance(expression, Condition | Constant | Tree):
                yield from expression.names
    key = find(root, ("concurrency", "key"))
    if command.concurrency is not None and isinstance(key, ScalarNode):
        yield from compiler(settings).template(key).names
