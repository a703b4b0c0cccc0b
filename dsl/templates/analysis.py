"""What a parsed template refers to, names from outside and filters, and what it costs. Found without evaluating it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from liquid import RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path, TernaryFilteredExpression
from liquid.builtin.expressions.filtered import Filter
from liquid.expression import Expression

from dsl.command import Position
from dsl.nodes import format_path
from dsl.templates.costs import NODE
from dsl.templates.metering import Block, PathOfPaths, cost_of, meter

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
        work: What it costs by itself, its blocks aside.
        blocks: What each of its blocks costs each time, by its `id`.
    """

    names: tuple[Name, ...] = ()
    filters: tuple[FilterUse, ...] = ()
    work: int = 0
    blocks: dict[int, int] = field(default_factory=dict)


def analyse(nodes: Iterable[Node], expressions: Iterable[Expression], context: RenderContext, locate: Locate) -> Usage:
    """Walk a template or an expression. What is in it is made to draw on the budget of its evaluations on the way."""
    walk = _Walk(context, locate)
    work = sum(walk.node(node, frozenset()) for node in nodes)
    work += sum(walk.expression(expression, frozenset()) for expression in expressions)
    names = (name for name in walk.names if name.root not in walk.assigned)
    return Usage(
        tuple(sorted(names, key=lambda name: name.index)),
        tuple(sorted(walk.filters, key=lambda use: use.index)),
        work,
        walk.blocks,
    )


@dataclass
class _Walk:
    context: RenderContext
    locate: Locate
    names: list[Name] = field(default_factory=list)
    filters: list[FilterUse] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    blocks: dict[int, int] = field(default_factory=dict)

    def node(self, node: Node, inner_names: frozenset[str]) -> int:
        """Walk a node; returns what it costs. A block costs nothing here: it pays whenever it is rendered."""
        meter(node)
        work = NODE
        self.assigned.update(map(str, node.template_scope()))
        for expression in node.expressions():
            work += self.expression(expression, inner_names)
        inner_names = inner_names.union(map(str, node.block_scope()))
        for child in node.children(self.context, include_partials=False):
            work += self.node(child, inner_names)
        if type(node) is Block:
            self.blocks[id(node)] = work
            return 0
        return work

    def expression(self, expression: Expression, inner_names: frozenset[str]) -> int:
        """Walk an expression; returns what it costs."""
        meter(expression)
        work = cost_of(expression)
        if type(expression) is Path or type(expression) is PathOfPaths:
            segments = tuple(None if isinstance(part, Path) else part for part in expression.path)
            if segments[0] not in inner_names:
                self.names.append(Name(segments, expression.token.start_index, self.locate))
        for use in _filters_of(expression):
            self.filters.append(FilterUse(use.name, use.token.start_index, self.locate))
        for child in expression.children():
            work += self.expression(child, inner_names)
        return work


def _filters_of(expression: Expression) -> Iterable[Filter]:
    # Compared by type: python-liquid's classes are abstract, for which `isinstance` is slow.
    if type(expression) is FilteredExpression:
        return expression.filters or ()
    if type(expression) is TernaryFilteredExpression:
        return (*(expression.left.filters or ()), *(expression.filters or ()), *(expression.tail_filters or ()))
    return ()
