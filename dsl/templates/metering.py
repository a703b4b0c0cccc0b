"""Nodes and expressions of python-liquid that draw on the budget of the template they are part of.

`dsl.templates.analysis` puts them in the place of python-liquid's own where work depends on values, or on how often a
block is rendered. Everything else costs what it costs, and is counted with the block it stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TextIO

from liquid.ast import BlockNode, Node
from liquid.builtin.expressions import LoopExpression, Path
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LtExpression,
    NeExpression,
    _contains,
    _eq,
    _le,
    _lt,
)
from liquid.builtin.expressions.primitive import Blank, RangeLiteral
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import _AnyExpression
from liquid.exceptions import LiquidError, LiquidTypeError
from liquid.expression import Expression
from liquid.output import NullIO

from dsl.templates.context import Buffer, Context
from dsl.templates.costs import (
    COMPARED,
    COMPARISON,
    CONTAINERS,
    EXPRESSION,
    LISTS,
    LOOKED_AT,
    LOOKED_UP,
    LOOP,
    SEARCHED,
    SEGMENT,
    searching,
    weigh,
)

#: Characters of a number, as it is looked for in a text.
_LONGEST_NUMBER = 25

#: A character of a loop's own name, `forloop.name`.
_NAMED = 30


def render(nodes: list[Node], context: Context, buffer: TextIO) -> None:
    """Render nodes one after the other.

    Raises:
        LiquidError: Of a node; with its place, if it had none of its own.
    """
    for node in nodes:
        try:
            node.render_to_output(context, buffer)
        except LiquidError as error:
            error.token = error.token or node.token
            raise


class Block(BlockNode):
    """A list of nodes; each rendering is paid for. White space alone is not written."""

    __slots__ = ()

    def render_to_output(self, context: Context, buffer: TextIO) -> int:  # type: ignore[override] # it is always ours
        context.spend(context.blocks[id(self)])
        render(self.nodes, context, NullIO() if self.blank else buffer)
        return 0


class _Capture(CaptureNode):
    """`capture`: what is written counts as held while it grows, and once when it has its name."""

    __slots__ = ()

    def render_to_output(self, context: Context, buffer: TextIO) -> int:  # type: ignore[override] # it is always ours
        written = Buffer(context)
        self.block.render(context, written)
        context.assign(self.name, written.taken())
        return 0


class PathOfPaths(Path):
    """A path with paths in it: what they lead to is looked up, however long it is."""

    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        parts = [part.evaluate(context) if isinstance(part, Path) else part for part in self.path]
        context.spend(LOOKED_UP * sum(len(part) for part in parts if isinstance(part, str)))
        return context.get(parts, token=self.token)


class _Range(RangeLiteral):
    """A range that is measured before anything is made of it."""

    __slots__ = ()

    def evaluate(self, context: Context) -> range:  # type: ignore[override] # it is always ours
        values = super().evaluate(context)
        if values:
            context.check_range(values[-1] - values[0] + 1, self.token)
        return values


class _Loop(LoopExpression):
    """What a `for` goes through; elements that are passed over are paid for too."""

    __slots__ = ()

    def _slice(
        self,
        it: Iterator[object],
        length: int,
        context: Context,  # type: ignore[override] # it is always ours
        *,
        limit: int | None,
        offset: int | str | None,
    ) -> tuple[Iterator[object], int]:
        start = context.stopindex(f"{self.identifier}-{self.iterable}") if offset == "continue" else int(offset or 0)
        passed = min(max(start, 0), length)
        turns = length - passed if limit is None else min(max(limit, 0), length - passed)
        context.check_turns(turns)
        context.spend(LOOKED_AT * (passed + (turns if self.reversed else 0)))
        return super()._slice(it, length, context, limit=limit, offset=offset)


class _When(_AnyExpression):
    """The values of a `when`."""

    __slots__ = ()

    def evaluate(self, context: Context) -> list[bool]:  # type: ignore[override] # it is always ours
        left = self.left.evaluate(context)
        return [_eq(*_paid(left, right.evaluate(context), context)) for right in self.expressions]


class _Eq(EqExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        return _eq(*_sides(self, context))


class _Ne(NeExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        return not _eq(*_sides(self, context))


class _Le(LeExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        return _le(*_sides(self, context))


class _Ge(GeExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        left, right = _sides(self, context)
        return _le(right, left)


class _Lt(LtExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        return _lt(self.token, *_sides(self, context))


class _Gt(GtExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        left, right = _sides(self, context)
        return _lt(self.token, right, left)


class _Contains(ContainsExpression):
    __slots__ = ()

    def evaluate(self, context: Context) -> object:  # type: ignore[override] # it is always ours
        left, right = self.left.evaluate(context), self.right.evaluate(context)
        if isinstance(left, str):
            if isinstance(right, CONTAINERS):
                raise LiquidTypeError("contains looks for a text or a number in a text", token=self.token)
            context.spend(searching(len(right) if isinstance(right, str) else _LONGEST_NUMBER, len(left)))
        elif isinstance(left, LISTS):
            context.spend(LOOKED_AT * len(left))
            context.spend(weigh(right, context) * len(left))
        return _contains(self.token, left, right)


def _sides(expression: Any, context: Context) -> tuple[object, object]:  # noqa: ANN401 - any with two sides
    return _paid(expression.left.evaluate(context), expression.right.evaluate(context), context)


def _paid(left: object, right: object, context: Context) -> tuple[object, object]:
    """Two values, paid for as they will be compared."""
    if isinstance(left, str) and isinstance(right, str):
        context.spend(COMPARED * min(len(left), len(right)))
    elif isinstance(left, Blank) and isinstance(right, str):
        context.spend(SEARCHED * len(right))
    elif isinstance(right, Blank) and isinstance(left, str):
        context.spend(SEARCHED * len(left))
    elif isinstance(left, CONTAINERS) and type(left) is type(right) and len(left) == len(right):
        weigh(left, context)
    return left, right


#: What stands in for what.
_METERED: Mapping[type, type] = MappingProxyType(
    {
        BlockNode: Block,
        CaptureNode: _Capture,
        RangeLiteral: _Range,
        LoopExpression: _Loop,
        Path: PathOfPaths,
        _AnyExpression: _When,
        EqExpression: _Eq,
        NeExpression: _Ne,
        LeExpression: _Le,
        GeExpression: _Ge,
        LtExpression: _Lt,
        GtExpression: _Gt,
        ContainsExpression: _Contains,
    }
)


def metered() -> Mapping[type, type]:
    """What stands in for what."""
    return _METERED


def meter(part: Node | Expression) -> None:
    """Make a node or an expression draw on the budget."""
    counted = _METERED.get(type(part))
    if counted is not None and not (type(part) is Path and all(isinstance(name, str | int) for name in part.path)):
        part.__class__ = counted


def cost_of(expression: Expression) -> int:
    """What an expression costs whenever it is evaluated, without what is in it."""
    beside = _BESIDE.get(type(expression))
    return EXPRESSION if beside is None else EXPRESSION + beside(expression)


def _of_comparison(_: Any) -> int:  # noqa: ANN401 - one of those below
    return COMPARISON


def _of_path(path: Any) -> int:  # noqa: ANN401 - a path
    return SEGMENT * len(path.path)


def _of_loop(loop: Any) -> int:  # noqa: ANN401 - what a loop goes through
    return LOOP + _NAMED * len(str(loop.iterable))  # its name is written out whenever it begins


def _of_when(when: Any) -> int:  # noqa: ANN401 - the values of a `when`
    return cost_of(when.left) + COMPARISON * len(when.expressions)


_BESIDE: Mapping[type, Callable[[Any], int]] = MappingProxyType(
    {
        **dict.fromkeys((_Eq, _Ne, _Le, _Ge, _Lt, _Gt, _Contains), _of_comparison),
        Path: _of_path,
        PathOfPaths: _of_path,
        _Loop: _of_loop,
        _When: _of_when,
    }
)
