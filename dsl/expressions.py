"""Templates and conditions: compiled once, evaluated often, native values out.

A text that is one whole `{{ expression }}` evaluates to that expression's value with its type; any other text with
markup evaluates to text. Conditions are expressions without braces. Errors are `ExpressionError`s that point into the
file and name what was probably meant. Compiling, analysing and evaluating share what a part of a template is, and
stand together for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeAlias

from liquid.ast import Node as LiquidNode
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions import Path as LiquidPath
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError, LiquidInterrupt, UndefinedError
from liquid.expression import Expression as LiquidExpression
from liquid.template import BoundTemplate

from dsl.command import Position
from dsl.errors import ExpressionError, ExpressionLimit
from dsl.faults import listed, nearest
from dsl.nodes import ListNode, Locator, MappingNode, Node, Path, ScalarNode, position_in
from dsl.settings import DslSettings
from dsl.templates.analysis import FilterUse, Locate, Name, Usage, analyse
from dsl.templates.context import Buffer, Context
from dsl.templates.costs import TooMuch
from dsl.templates.grammar import TAGS, Grammar
from dsl.templates.metering import render
from dsl.templates.native import plain
from telemetry.settings import variable_of

#: What is compiled: a node of a file, or a text of its own.
Source: TypeAlias = ScalarNode | str

#: Told of a text that cannot be compiled: where it is below the value, and why.
Report: TypeAlias = Callable[[Path, ScalarNode, ExpressionError], None]

_NOTHING: Mapping[str, object] = MappingProxyType({})
_PLAIN = frozenset((str, int, float, bool, type(None), list, dict))

#: Tags that only stand inside others.
_INNER_TAGS = ("elsif", "else", "endcapture", "endcase", "endfor", "endif", "endunless", "when")

#: What was expected, where a message says so, or the limit that was passed.
_MISSED = re.compile(r"expected (.+?)(?:, found .*)?$")
_PASSED = re.compile(r" than ([0-9].*)$")

#: How python-liquid puts it, and how we do.
_WORDING = (
    ("a primitive expression", "a value"),
    ("end of expression", "the end"),
    ("an infix expression", "an operator"),
    ("found word", "found a name"),
    ("expected word", "expected a name"),
    ("unexpected token ", "unexpected "),
    ("block nesting limit reached", "blocks are nested deeper than 30"),
    ("'in' and 'contains' are not supported between", "`contains` does not work with"),
    ("'<' and '>' are not supported between", "`<` and `>` do not work with"),
    *((f"'{name}'", kind) for name, kind in (("str", "a text"), ("int", "a number"), ("float", "a number"))),
    *((f"'{name}'", "a list") for name in ("list", "tuple", "range")),
    *((f"'{name}'", kind) for name, kind in (("dict", "a mapping"), ("bool", "true or false"), ("NoneType", "null"))),
    *((f"'{name}'", f"`{name.lower()}`") for name in ("Empty", "Blank", "ForLoop")),
)

_MAYBE_MISSING = "Where it may be missing, write `| default: …`."

#: A reference as it is written, and characters of it and of a message that are shown.
_REFERENCE = re.compile(r"[\w\-.?\[\]'\"]{1,80}")
_MAX_NAME, _MAX_MESSAGE = 80, 300

#: Names among which the one that was meant is looked for, while a template is evaluated.
_MAX_MEANT = 50


class _Compiled:
    """What templates and conditions have in common.

    Attributes:
        text: As written.
        names: What it refers to outside itself.
        filters: Filters it applies.
    """

    __slots__ = ("_blocks", "_grammar", "_holder", "_locate", "_work", "filters", "names", "text")

    def __init__(self, grammar: Grammar, holder: BoundTemplate, text: str, locate: Locate, usage: Usage) -> None:
        self._grammar = grammar
        self._holder = holder
        self._locate = locate
        self._work = usage.work
        self._blocks = usage.blocks
        self.text = text
        self.names = usage.names
        self.filters = usage.filters

    def evaluate(self, names: Mapping[str, object]) -> Any:  # noqa: ANN401 - any native value
        """Its value.

        Raises:
            ExpressionError: A name is missing, a filter cannot do what it is asked, or a limit was passed.
        """
        try:
            return self._evaluate(Context(self._holder, names, self._work, self._blocks))
        except Exception as error:
            raise _failure(error, self.text, self._locate, self.names, names) from error

    def _evaluate(self, context: Context) -> Any:  # noqa: ANN401 - any native value
        raise NotImplementedError


class Template(_Compiled):
    """A text with markup."""

    __slots__ = ("_is_path", "_max_value", "_native", "_parsed")

    def __init__(  # noqa: PLR0913 - one part each
        self,
        grammar: Grammar,
        holder: BoundTemplate,
        text: str,
        locate: Locate,
        parsed: list[LiquidNode],
        usage: Usage,
        max_value: int,
    ) -> None:
        super().__init__(grammar, holder, text, locate, usage)
        self._parsed = parsed
        self._max_value = max_value
        self._native = _native_expression(parsed)
        self._is_path = (
            isinstance(self._native, FilteredExpression)
            and not self._native.filters
            and isinstance(self._native.left, LiquidPath)
        )

    @property
    def is_native(self) -> bool:
        """Whether its value keeps its type: the text is one whole `{{ expression }}`."""
        return self._native is not None

    def _evaluate(self, context: Context) -> Any:  # noqa: ANN401 - any native value
        if self._native is not None:
            value = self._native.evaluate(context)
            # What is in scope is plain already; only filters make values of other types.
            return value if self._is_path and type(value) in _PLAIN else plain(value, self._max_value, context)
        buffer = Buffer(context)
        render(self._parsed, context, buffer)
        return buffer.taken()


class Condition(_Compiled):
    """An expression without braces; its value is a bool."""

    __slots__ = ("_expression",)

    def __init__(  # noqa: PLR0913 - one part each
        self,
        grammar: Grammar,
        holder: BoundTemplate,
        text: str,
        locate: Locate,
        expression: LiquidExpression,
        usage: Usage,
    ) -> None:
        super().__init__(grammar, holder, text, locate, usage)
        self._expression = expression

    def _evaluate(self, context: Context) -> bool:
        return bool(self._expression.evaluate(context))


class Constant:
    """A value without markup."""

    __slots__ = ("_value",)

    names: tuple[Name, ...] = ()
    filters: tuple[FilterUse, ...] = ()

    def __init__(self, value: str | float | bool | None) -> None:
        self._value = value

    def evaluate(self, _: Mapping[str, object]) -> Any:  # noqa: ANN401 - any native value
        """The value itself."""
        return self._value


class Tree:
    """A value with templates anywhere in it; evaluates to a new value of plain JSON types each time.

    Attributes:
        templates: Every template in it, with its place below the value, in the order of the text.
    """

    __slots__ = ("_build", "templates")

    def __init__(
        self, build: Callable[[Mapping[str, object]], Any], templates: tuple[tuple[Path, Template], ...]
    ) -> None:
        self._build = build
        self.templates = templates

    @property
    def names(self) -> tuple[Name, ...]:
        """What its templates refer to."""
        return tuple(name for _, template in self.templates for name in template.names)

    def evaluate(self, names: Mapping[str, object]) -> Any:  # noqa: ANN401 - any native value
        """Its value.

        Raises:
            ExpressionError: The first template that cannot be evaluated.
        """
        return self._build(names)


class Compiler:
    """Compiles templates and conditions under one set of limits. Safe to share between threads."""

    def __init__(self, settings: DslSettings) -> None:
        self._settings = settings
        self._grammar = Grammar(settings)
        self._holder = BoundTemplate(self._grammar, [])
        self._static = Context(self._holder, {})

    @property
    def filters(self) -> frozenset[str]:
        """Names of all filters."""
        return frozenset(self._grammar.filters)

    @property
    def arguments(self) -> Mapping[str, tuple[int, int]]:
        """How many arguments each filter takes, at least and at most."""
        return self._grammar.arguments

    @property
    def max_memory(self) -> int:
        """Bytes that an evaluation may reckon with."""
        return self._grammar.max_memory

    def template(self, source: Source) -> Template | Constant:
        """A text.

        Raises:
            ExpressionError: It is not a template; `facts` hold line and column.
        """
        text, locate = self._opened(source)
        if "{{" not in text and "{%" not in text:
            return Constant(text)
        try:
            parsed = self._grammar.parse_template(text)
            usage = analyse(parsed, (), self._static, locate)
        except Exception as error:
            raise _failure(error, text, locate) from error
        limit = self._settings.max_execution_output_bytes
        return Template(self._grammar, self._holder, text, locate, parsed, usage, limit)

    def condition(self, source: Source) -> Condition:
        """A condition without braces.

        Raises:
            ExpressionError: It is not a condition.
        """
        text, locate = self._opened(source)
        if "{{" in text or "{%" in text:
            detail = "a condition is written without braces"
            raise _at(locate, max(text.find("{"), 0), detail, expected="an expression")
        try:
            expression = self._grammar.parse_condition(text)
            usage = analyse((), (expression,), self._static, locate)
        except Exception as error:
            raise _failure(error, text, locate) from error
        return Condition(self._grammar, self._holder, text, locate, expression, usage)

    def value(self, node: Node, report: Report | None = None) -> Tree:
        """A value with templates anywhere in it; keys of mappings are never templates.

        Args:
            node: The value.
            report: Told of every text that is no template; without it the first one is raised.

        Raises:
            ExpressionError: A text is no template, and there is no `report`.
        """
        templates: list[tuple[Path, Template]] = []
        build = self._builder(node, (), templates, report)
        return Tree(build, tuple(templates))

    def mapping(self, nodes: Mapping[str, Node], report: Report | None = None) -> Tree:
        """As `value`, for a mapping of which some keys are left out."""
        templates: list[tuple[Path, Template]] = []
        parts = {key: self._builder(node, (key,), templates, report) for key, node in nodes.items()}
        return Tree(lambda names: {key: build(names) for key, build in parts.items()}, tuple(templates))

    def _builder(
        self, node: Node, path: Path, templates: list[tuple[Path, Template]], report: Report | None
    ) -> Callable[[Mapping[str, object]], Any]:
        if isinstance(node, MappingNode):
            entries = node.entries.items()
            parts = {key: self._builder(entry.value, (*path, key), templates, report) for key, entry in entries}
            return lambda names: {key: build(names) for key, build in parts.items()}
        if isinstance(node, ListNode):
            items = [self._builder(item, (*path, index), templates, report) for index, item in enumerate(node.items)]
            return lambda names: [build(names) for build in items]
        if isinstance(node, ScalarNode) and isinstance(node.scalar, str):
            try:
                template = self.template(node)
            except ExpressionError as error:
                if report is None:
                    raise
                report(path, node, error)
                template = Constant(node.scalar)
            if isinstance(template, Template):
                templates.append((path, template))
            return template.evaluate
        return Constant(node.value()).evaluate

    def _opened(self, source: Source) -> tuple[str, Locate]:
        if isinstance(source, str):
            text, locate = source, _within(source)
        else:
            text, locate = str(source.scalar), Locator(source)
        if len(text) > self._settings.max_template_bytes:
            limit = self._settings.max_template_bytes
            passed = TooMuch(f"the template is longer than {limit} characters", "max_template_bytes")
            raise _too_much(passed, locate(0))
        return text, locate


@lru_cache(maxsize=8)
def compiler(settings: DslSettings) -> Compiler:
    """The compiler for these limits; making one takes a millisecond."""
    return Compiler(settings)


def _within(text: str) -> Locate:
    return lambda index: position_in(text, index)


def _native_expression(parsed: list[LiquidNode]) -> LiquidExpression | None:
    """The expression of a template that is nothing else, space around it aside."""
    nodes = [node for node in parsed if not (isinstance(node, ContentNode) and node.blank)]
    return nodes[0].expression if len(nodes) == 1 and isinstance(nodes[0], OutputNode) else None


def _at(locate: Locate, index: int, detail: str, hint: str | None = None, **facts: object) -> ExpressionError:
    position = locate(index)
    return ExpressionError(detail, hint=hint, line=position.line, column=position.column, **facts)


def _failure(
    error: Exception, text: str, locate: Locate, used: tuple[Name, ...] = (), names: Mapping[str, object] = _NOTHING
) -> ExpressionError:
    """What went wrong, in our words, with its place in the file."""
    token = getattr(error, "token", None)
    index = token.start_index if token is not None and token.start_index >= 0 else max(text.find("{{"), 0)
    if isinstance(error, UndefinedError):
        return _undefined(text, index, locate, used, names)
    if isinstance(error, LiquidInterrupt):
        return _at(locate, index, f"`{error}` stands outside of a loop")
    if isinstance(error, RecursionError):
        return _at(locate, index, "the expression is nested too deeply")
    if isinstance(error, TooMuch):
        return _too_much(error, locate(index))
    message = str(error.message if isinstance(error, LiquidError) else error) or type(error).__name__
    if message.startswith("unexpected tag "):
        word = message.removeprefix("unexpected tag ").strip("'")
        meant = nearest(word, (*TAGS, *_INNER_TAGS))
        hint = f"Did you mean `{meant}`?" if meant else f"Tags are {', '.join(TAGS)}."
        return _at(
            locate, index, f"there is no tag `{word}` here", hint, name=word, nearest=meant, expected=listed(TAGS)
        )
    for theirs, ours in _WORDING:
        message = message.replace(theirs, ours)
    message = message[:_MAX_MESSAGE]
    missed, passed = _MISSED.search(message), _PASSED.search(message)
    expected = missed[1] if missed else f"at most {passed[1]}" if passed else None
    return _at(locate, index, message, expected=expected)


def _undefined(
    text: str, index: int, locate: Locate, used: tuple[Name, ...], names: Mapping[str, object]
) -> ExpressionError:
    missing = next((name for name in used if name.index == index), None)
    if missing is not None:
        return _missing(missing, names)
    written = _REFERENCE.match(text, index)  # a name of the template's own
    name = "a name" if written is None else f"`{written[0]}`"
    return _at(locate, index, f"{name} is not there", _MAYBE_MISSING)


def _too_much(error: TooMuch, position: Position) -> ExpressionLimit:
    message = str(error.message)
    passed = _PASSED.search(message)
    setting = variable_of(DslSettings.section, error.setting)
    return ExpressionLimit(
        message,
        hint=f"Do less in one template, or spread it over several steps; the limit is `{setting}`.",
        line=position.line,
        column=position.column,
        expected=f"at most {passed[1]}" if passed else None,
        setting=setting,
    )


def _missing(name: Name, names: Mapping[str, object]) -> ExpressionError:
    """The first part of a reference that is not there, and what is there instead."""
    value: object = names
    known: Iterable[object] = ()
    there = 0
    for part in name.segments:
        known = value if isinstance(value, Mapping) else ()
        try:
            value = value[part]  # type: ignore[index] # what cannot be indexed is what is looked for
        except (KeyError, IndexError, TypeError):
            break
        there += 1
    missing = Name(name.segments[: there + 1], name.index, name.locate)
    meant = nearest(str(missing.segments[-1]), map(str, islice(known, _MAX_MEANT)))
    hint = f"Did you mean `{meant}`?" if meant else _MAYBE_MISSING
    shown = str(missing) if len(str(missing)) <= _MAX_NAME else f"{str(missing)[:_MAX_NAME]}…"
    return _at(name.locate, name.index, f"`{shown}` is not there", hint, name=shown, nearest=meant)
