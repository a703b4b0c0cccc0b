"""Filters of texts that Weir has of its own, or does in its own way; each says why it is not Liquid's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.filter import with_context
from liquid.limits import to_int

from dsl.templates.context import Context
from dsl.templates.costs import PATTERN, PATTERN_INSTRUCTION, PATTERN_STEP
from dsl.templates.patterns import Pattern, PatternError

#: What is left out with everything inside it.
_HIDDEN = (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"))


def too_long(limit: int) -> FilterArgumentError:
    """The error of a text that is longer than a template may make."""
    # python-liquid gives an error of this class the place of the filter.
    return FilterArgumentError(f"the text is longer than {limit} characters", token=None)


def too_many(limit: int) -> FilterArgumentError:
    """The error of a list that has more items than a filter may make."""
    return FilterArgumentError(f"the list is longer than {limit} items", token=None)


def slug(value: str) -> str:
    """`slug`: lower-case letters and digits of any script, everything between them one `-`, marks left off."""
    decomposed = unicodedata.normalize("NFKD", value)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", bare)).strip("-")


@with_context
def regex_match(value: str, pattern: object, *, context: Context) -> bool:
    """`regex_match`: whether the pattern is found anywhere in the text."""
    return _compiled(pattern, context).search(value, _counter(context))


@with_context
def regex_replace(value: str, pattern: object, replacement: object = "", *, context: Context) -> str:
    r"""`regex_replace`: each place the pattern is found, replaced; `\1` is what its first group matched."""
    compiled = _compiled(pattern, context)
    try:
        return compiled.replace(value, str(replacement), _counter(context), context.max_text)
    except PatternError as error:
        raise FilterArgumentError(f"the pattern {error}", token=None) from error


def _counter(context: Context) -> Callable[[int], None]:
    return lambda steps: context.spend(steps * PATTERN_STEP)


def _compiled(pattern: object, context: Context) -> Pattern:
    """A pattern; whether it was kept or not, it is paid for once in an evaluation."""
    text = str(pattern)
    if text not in context.patterns:
        try:
            context.patterns[text] = Pattern.of(text)
        except PatternError as error:
            raise FilterArgumentError(f"the pattern {error}", token=None) from error
        context.spend(PATTERN + PATTERN_INSTRUCTION * context.patterns[text].size)
    return context.patterns[text]


@with_context
def append(value: str, more: object, *, context: Context) -> str:
    """`append`, measured before it is made."""
    return _joined(value, str(more), context.max_text)


@with_context
def prepend(value: str, more: object, *, context: Context) -> str:
    """`prepend`, measured before it is made."""
    return _joined(str(more), value, context.max_text)


def _joined(left: str, right: str, limit: int) -> str:
    if len(left) + len(right) > limit:
        raise too_long(limit)
    return left + right


@with_context
def replace(value: str, old: object, new: object = "", *, context: Context) -> str:
    """`replace`: every occurrence, unless that would make the text too long."""
    before, after = str(old), str(new)
    if len(value) + value.count(before) * (len(after) - len(before)) > context.max_text:
        raise too_long(context.max_text)
    return value.replace(before, after)


def remove_last(value: str, old: object) -> str:
    """`remove_last`, in linear time: Python looks for the last occurrence in quadratic time."""
    return replace_last(value, old, "")


def replace_last(value: str, old: object, new: object) -> str:
    """`replace_last`, in linear time: Python looks for the last occurrence in quadratic time."""
    before = str(old)
    at = value[::-1].find(before[::-1])
    if at < 0:
        return value
    start = len(value) - at - len(before)
    return f"{value[:start]}{new}{value[start + len(before) :]}"


@with_context
def split(value: str, separator: object, *, context: Context) -> list[str]:
    """`split`, counted before it is made."""
    by, most = str(separator), context.max_items
    if not value or value == by:
        return []
    parts = [] if by else list(value[: most + 1])
    if by:
        parts = value.split(None if by == " " else by, most)
    if len(parts) > most:
        raise too_many(most)
    return parts


@with_context
def truncatewords(value: str, count: Any = 15, end: object = "...", *, context: Context) -> str:  # noqa: ANN401 - a number
    """`truncatewords`, without taking apart the words that it leaves off."""
    asked = max(to_int(count), 1)
    most = min(asked, context.max_items)
    words = value.split(None, most)
    if len(words) > most < asked:
        raise too_many(most)
    # As many words as asked for count as one too many, as in Liquid.
    return " ".join(words) if len(words) < most else " ".join(words[:most]) + str(end)


def strip_html(value: str) -> str:
    """`strip_html`: without tags, comments, scripts and styles. One pass: Python's parser is quadratic on bad HTML."""
    lowered = value.encode().lower().decode()  # ASCII letters only: every index stays what it was
    kept: list[str] = []
    at = 0
    while (start := lowered.find("<", at)) >= 0:
        closing = next((end for begin, end in _HIDDEN if lowered.startswith(begin, start)), ">")
        end = lowered.find(closing, start)
        if end < 0:
            break
        kept.append(value[at:start])
        at = end + len(closing)
    kept.append(value[at:])
    return "".join(kept)
