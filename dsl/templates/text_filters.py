"""Filters of texts that Weir has of its own, or does in its own way; each says why it is not Liquid's."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.filter import with_context
from liquid.limits import to_int

from dsl.templates.context import Context
from dsl.templates.costs import (
    PATTERN,
    PATTERN_INSTRUCTION,
    PATTERN_STEP,
    SHORT_TEXT_BYTES,
    WIDE,
    bytes_of,
)
from dsl.templates.patterns import Count, Pattern, PatternError

#: What is left out with everything inside it.
_HIDDEN = (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"))


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
        return compiled.replace(value, str(replacement), _counter(context), context.check_text)
    except PatternError as error:
        raise FilterArgumentError(f"the pattern {error}", token=None) from error


def _counter(context: Context) -> Count:
    def count(steps: int, size: int) -> None:
        context.spend(steps * PATTERN_STEP)
        context.need(size)

    return count


def _compiled(pattern: object, context: Context) -> Pattern:
    """A pattern; whether it was kept or not, it is paid for once in an evaluation."""
    text = str(pattern)
    if text not in context.patterns:
        context.spend(PATTERN)
        try:
            context.patterns[text] = Pattern.of(text)
        except PatternError as error:
            raise FilterArgumentError(f"the pattern {error}", token=None) from error
        context.spend(PATTERN_INSTRUCTION * context.patterns[text].size)
    return context.patterns[text]


@with_context
def append(value: str, more: object, *, context: Context) -> str:
    """`append`, measured before it is made."""
    return _joined(value, str(more), context)


@with_context
def prepend(value: str, more: object, *, context: Context) -> str:
    """`prepend`, measured before it is made."""
    return _joined(str(more), value, context)


def _joined(left: str, right: str, context: Context) -> str:
    context.check_text(len(left) + len(right))
    return left + right


@with_context
def replace(value: str, old: object, new: object = "", *, context: Context) -> str:
    """`replace`: every occurrence, unless that would make the text too long."""
    before, after = str(old), str(new)
    length = len(value) + value.count(before) * (len(after) - len(before))
    context.check_text(length)
    context.need(length * (1 if value.isascii() and after.isascii() else WIDE))
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
    """`split`, counted before it is made; its parts are held, wherever they go."""
    by = str(separator)
    if not value or value == by:
        return []
    most = len(value) // 2 + 1 if by == " " else value.count(by) + 1
    context.hold(bytes_of(value) + SHORT_TEXT_BYTES * min(most, context.max_items))
    parts = value.split(None if by == " " else by, context.max_items) if by else list(value[: context.max_items + 1])
    context.check_items(len(parts))
    return parts


@with_context
def truncatewords(value: str, count: Any = 15, end: object = "...", *, context: Context) -> str:  # noqa: ANN401 - a number
    """`truncatewords`, without taking apart the words that it leaves off."""
    asked = max(to_int(count), 1)
    most = min(asked, context.max_items, len(value) // 2 + 1)
    context.need(SHORT_TEXT_BYTES * most + 2 * bytes_of(value))
    words = value.split(None, most)
    if len(words) > most < asked:
        context.check_items(len(words))
    # As many words as asked for count as one too many, as in Liquid.
    return " ".join(words) if len(words) < asked else " ".join(words[:asked]) + str(end)


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
