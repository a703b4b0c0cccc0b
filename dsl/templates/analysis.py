"""What a parsed template refers to: names from outside, and filters. Found without evaluating it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from liquid import RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path, TernaryFilteredExpression
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.expression import Expression

from dsl.command import Position
from dsl.nodes import format_path
from dsl.templates.grammar import BoundedRange

#: From the index of a character of a template to its place in the file.
Locate: TypeAlias = Callable[[int], Position]


@dataclass(frozen=True, slots=True)
class Name:
    """A reference to something in scope.

    Attributes:
        segments: `("steps", "create", "output")`; none stands for a part that is only known when it is evaluated.
        index: Of its first character, in the template.
        locate: Finds it in the file.
    """

    segments: tuple[str | int | None, ...]
    index: int
    locate: Locate

    @property
    def root(self) -> str:
        """What must be in scope."""
        return str(self.segments[0])

    @property
    def position(self) -> Position:
        """Where it stands in the file."""
        return self.locate(self.index)

    def __str__(self) -> str:
        return format_path(tuple("…" if segment is None else segment for segment in self.segments))


@dataclass(frozen=True, slots=True)
class FilterUse:
    """A filter that a template applies."""

    name: str
    index: int
    locate: Locate

    @property
    def position(self) -> Position:
        """Where it stands in the file."""
        return self.locate(self.index)


@dataclass(slots=True)
class Usage:
    """What a template uses.

    Attributes:
        names: From outside, in the order of the text.
        filters: Likewise.
        nodes: How many nodes it has.
    """

    names: tuple[Name, ...] = ()
    filters: tuple[FilterUse, ...] = ()
    nodes: int = 0


def analyse(nodes: Iterable[Node], expressions: Iterable[Expression], context: RenderContext, locate: Locate) -> Usage:
    """Walk a template or an expression. Ranges in it are made to measure themselves on the way."""
    walk = _Walk(context, locate)
    for node in nodes:
        walk.node(node, frozenset())
    for expression in expressions:
        walk.expression(expression, frozenset())
    names = (name for name in walk.names if name.root not in walk.assigned)
    return Usage(
        tuple(sorted(names, key=lambda name: name.index)),
        tuple(sorted(walk.filters, key=lambda use: use.index)),
        walk.nodes,
    )


@dataclass
class _Walk:
    context: RenderContext
    locate: Locate
    names: list[Name] = field(default_factory=list)
    filters: list[FilterUse] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    nodes: int = 0

    def node(self, node: Node, inner_names: frozenset[str]) -> None:
        self.nodes += 1
        self.assigned.update(map(str, node.template_scope()))
        for expression in node.expressions():
            self.expression(expression, inner_names)
        inner_names = inner_names.union(map(str, node.block_scope()))
        for child in node.children(self.context, include_partials=False):
            self.node(child, inner_names)

    def expression(self, expression: Expression, inner_names: frozenset[str]) -> None:
        if isinstance(expression, Path):
            segments = tuple(None if isinstance(part, Path) else part for part in expression.path)
            if segments[0] not in inner_names:
                self.names.append(Name(segments, expression.token.start_index, self.locate))
        elif isinstance(expression, RangeLiteral):
            expression.__class__ = BoundedRange
        for use in _filters_of(expression):
            self.filters.append(FilterUse(use.name, use.token.start_index, self.locate))
        for child in expression.children():
            self.expression(child, inner_names)


def _filters_of(expression: Expression) -> list[Filter]:
    if isinstance(expression, TernaryFilteredExpression):
        return [*(expression.left.filters or ()), *(expression.filters or ()), *(expression.tail_filters or ())]
    return list(expression.filters or ()) if isinstance(expression, FilteredExpression) else []
