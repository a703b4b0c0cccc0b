"""Liquid as Weir speaks it: python-liquid with its own lexer, fewer tags, and limits that cannot be got round.

Why not python-liquid as it comes: its lexer's patterns take quadratic time on text made for that, `{{ list }}` joins
Python reprs, `now` and `today` read the clock, a range is made before it is measured, loops in a row are not limited
together, and a filter may turn kilobytes into gigabytes before any limit looks at them. Here every evaluation has a
budget of work and of memory (`dsl.templates.costs`) that nodes, loops, comparisons and filters draw on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TextIO

from liquid.ast import Node
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, tokenize
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import LiquidSyntaxError
from liquid.expression import Expression
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.token import (
    TOKEN_CONTENT,
    TOKEN_DOT,
    TOKEN_EOF,
    TOKEN_EXPRESSION,
    TOKEN_FLOAT,
    TOKEN_IDENTINDEX,
    TOKEN_ILLEGAL,
    TOKEN_INTEGER,
    TOKEN_OUTPUT,
    TOKEN_TAG,
    TOKEN_WORD,
    Token,
)
from liquid.undefined import FalsyStrictUndefined

from dsl.settings import DslSettings
from dsl.templates.context import Context, Limited
from dsl.templates.filters import LEFT_OUT, OWN_FILTERS, arguments, guarded
from dsl.templates.native import to_text

#: Tags of a template. Left out: those that load files, print HTML, count across the text or run other tags in a line.
TAGS = ("#", "assign", "break", "capture", "case", "comment", "continue", "for", "if", "raw", "unless")

#: Words that mean something in an expression, and so cannot name a value.
WORDS = frozenset(
    (
        "and",
        "as",
        "blank",
        "cols",
        "contains",
        "continue",
        "else",
        "empty",
        "false",
        "for",
        "if",
        "in",
        "limit",
        "nil",
        "not",
        "null",
        "offset",
        "or",
        "required",
        "reversed",
        "true",
        "with",
    )
)

#: Characters of one expression, and brackets in it: the expression lexer looks ahead from each.
_MAX_EXPRESSION = 4096
_MAX_BRACKETS = 64

#: Characters of the longest number that is written out.
_MAX_NUMBER = 20

#: Bytes that a template may take, for each character it may make.
_MEMORY = 12

_NUMBERS = frozenset((TOKEN_INTEGER, TOKEN_FLOAT, TOKEN_IDENTINDEX))
_OPENING = re.compile(r"\{\{|\{%")
_TAG_NAME = re.compile(r"\s*(#|\w*)\s*")
_ENDS = {name: re.compile(rf"\{{%-?\s*end{name}\s*(-?)%\}}") for name in ("raw", "comment")}


class Grammar(Limited):
    """The tags, filters and limits of all templates under the same settings."""

    logical_not_operator = True
    logical_parentheses = True
    ternary_expressions = True

    def __init__(self, settings: DslSettings) -> None:
        super().__init__(undefined=FalsyStrictUndefined)
        self.max_text = settings.max_render_bytes
        self.max_turns = settings.max_loop_iterations
        self.max_work = settings.max_template_work / timedelta(microseconds=1) * 1000  # in ns
        self.max_memory = _MEMORY * settings.max_render_bytes

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        allowed = {*TAGS, TOKEN_CONTENT, TOKEN_ILLEGAL}
        self.tags = {name: tag for name, tag in self.tags.items() if name in allowed}
        self.add_tag(_Output)
        filters = {name: function for name, function in self.filters.items() if name not in LEFT_OUT} | OWN_FILTERS
        self.filters = {name: guarded(name, function) for name, function in filters.items()}
        self.arguments = {name: arguments(function) for name, function in filters.items()}

    def parse_template(self, text: str) -> list[Node]:
        """The nodes of a template.

        Raises:
            LiquidError: It is none.
        """
        return get_parser(self).parse(_Tokens(_lex(text), Token(TOKEN_EOF, TOKEN_EOF, len(text), text)))

    def parse_condition(self, text: str) -> Expression:
        """The expression of a condition without braces.

        Raises:
            LiquidError: It is none.
        """
        return BooleanExpression.parse(self, _expression_tokens(Token(TOKEN_EXPRESSION, text, 0, text)))


class _OutputNode(OutputNode):
    """`{{ … }}` within a text."""

    __slots__ = ()

    def render_to_output(self, context: Context, buffer: TextIO) -> int:  # type: ignore[override] # it is always ours
        return buffer.write(to_text(self.expression.evaluate(context), context))


class _Output(Output):
    node_class = _OutputNode

    def parse(self, stream: TokenStream) -> OutputNode:
        token = stream.eat(TOKEN_OUTPUT)
        return self.node_class(token, FilteredExpression.parse(self.env, stream.into_inner(tag=token, eat=False)))


class _Tokens(TokenStream):
    """A stream whose end has a place, so that what is missing there can be pointed at."""

    def __init__(self, tokens: Iterator[Token], end: Token) -> None:
        super().__init__(tokens)
        self.eof = end

    def into_inner(self, *, tag: Token | None = None, eat: bool = True) -> TokenStream:
        token = self.current
        if token.kind != TOKEN_EXPRESSION:
            raise LiquidSyntaxError("missing expression, expected a name or a value", token=tag or token)
        if eat:
            next(self)
        return _expression_tokens(token)


def _expression_tokens(token: Token) -> _Tokens:
    text = token.value
    if len(text) > _MAX_EXPRESSION:
        raise LiquidSyntaxError(f"the expression is longer than {_MAX_EXPRESSION} characters", token=token)
    if text.count("(") + text.count("[") > _MAX_BRACKETS:
        raise LiquidSyntaxError(f"the expression has more than {_MAX_BRACKETS} brackets", token=token)
    end = Token(TOKEN_EOF, TOKEN_EOF, token.start_index + len(text), token.source)
    return _Tokens(_mended(tokenize(text, token)), end)


def _mended(tokens: Iterator[Token]) -> Iterator[Token]:
    """Behind a dot any word is a property: `output.limit`, `output.empty`. Numbers are short: reading them is slow."""
    after_dot = False
    for token in tokens:
        if token.kind in _NUMBERS and len(token.value) > _MAX_NUMBER:
            raise LiquidSyntaxError(f"the number is longer than {_MAX_NUMBER} characters", token=token)
        yield token._replace(kind=TOKEN_WORD) if after_dot and token.value in WORDS else token
        after_dot = token.kind == TOKEN_DOT


def _lex(text: str) -> Iterator[Token]:
    """Content, outputs and tags, in one pass over the text."""
    at, strip = 0, False
    while (opening := _OPENING.search(text, at)) is not None:
        start = opening.start()
        inner = start + 2 + text.startswith("-", start + 2)
        yield from _content(text, at, start, left=strip, right=inner > start + 2)
        is_output = text[start + 1] == "{"
        close = text.find("}}" if is_output else "%}", inner)
        if close < 0:
            token = Token(TOKEN_EOF, text[start : start + 2], start, text)
            expected = "}}" if is_output else "%}"
            raise LiquidSyntaxError(f"`{text[start : start + 2]}` is never closed, expected `{expected}`", token=token)
        strip = close > inner and text[close - 1] == "-"
        at = close + 2
        end = close - strip
        if is_output:
            yield Token(TOKEN_OUTPUT, text[start:at], start, text)
            yield _trimmed(text, inner, end)
            continue
        name = _TAG_NAME.match(text, inner, end)
        word = "" if name is None else name[1]
        tag = Token(TOKEN_TAG, word, inner if name is None else name.start(1), text)
        if word in _ENDS:
            ending = _ENDS[word].search(text, at)
            if ending is None:
                raise LiquidSyntaxError(f"`{word}` is never closed, expected `{{% end{word} %}}`", token=tag)
            if word == "raw":
                yield from _content(text, at, ending.start(), left=False, right=False)
            at, strip = ending.end(), bool(ending[1])
            continue
        yield tag
        if name is not None and name.end() < end:
            yield _trimmed(text, name.end(), end)
    yield from _content(text, at, len(text), left=strip, right=False)


def _content(text: str, start: int, end: int, *, left: bool, right: bool) -> Iterator[Token]:
    content = text[start:end]
    content = content.lstrip() if left else content
    content = content.rstrip() if right else content
    if content:
        yield Token(TOKEN_CONTENT, content, start, text)


def _trimmed(text: str, start: int, end: int) -> Token:
    """An expression without the space around it."""
    expression = text[start:end].lstrip()
    return Token(TOKEN_EXPRESSION, expression.rstrip(), end - len(expression), text)
