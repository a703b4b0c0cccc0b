"""What of a sound command can never do anything. It loads and runs; `weir commands validate` warns of it.

Only what is certain is told: conditions that name nothing, such as `false` or `1 > 2`, and maps over a list that is
written out and empty. Whether a step always fails, or a condition on inputs is never true, cannot be decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dsl.command import Command, Expression, StepSpec
from dsl.document import read
from dsl.errors import ExpressionError, Fault
from dsl.expressions import Condition, Constant, Tree
from dsl.nodes import ListNode, Node, Path, find, format_path
from dsl.settings import DslSettings

#: Step types whose blocks can be told to be out of reach.
_CHOICE, _MAP = "condition", "list.map"


def warnings(command: Command, settings: DslSettings) -> tuple[Fault, ...]:
    """Steps of a loaded command that never run, in the order of its text."""
    root = read(command.source, settings).root
    if root is None:
        return ()  # it was made without a file
    found = [*_steps(command.steps, ("steps",), root), *_steps(command.on_failure, ("on_failure",), root)]
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
