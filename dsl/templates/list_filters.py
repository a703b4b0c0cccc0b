"""Filters of lists that Weir does in its own way; each says why it is not Liquid's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.filter import sequence_filter, with_context

from dsl.templates.context import Context
from dsl.templates.costs import (
    COMPARED,
    CONTAINERS,
    ELEMENT_BYTES,
    LISTS,
    LOOKED_AT,
    WIDE,
    WRITTEN,
    bytes_of,
)
from dsl.templates.native import to_json, to_text

#: Where items without the key go: to the end.
_LAST = chr(0x10FFFF)

#: What it takes to make a character lower case.
_LOWERED = 25


@sequence_filter
def compact(items: Sequence[object], key: object = None) -> list[object]:
    """`compact`: without null, or things that have null or nothing under a key; Liquid's own fails at nothing."""
    if key is None:
        return [item for item in items if item != None]  # noqa: E711 - Liquid's own nulls only say so by ==
    return [item for item in items if isinstance(item, dict) and item.get(str(key)) is not None]


@sequence_filter
def concat(items: Sequence[object], more: object) -> list[object]:
    """`concat`: Liquid's own fails to say what was wrong."""
    if not isinstance(more, LISTS):
        raise FilterArgumentError("concat expects a list", token=None)
    return [*items, *more]


@with_context
@sequence_filter
def join(items: Sequence[object], separator: object = " ", *, context: Context) -> str:
    """`join`: items as text, with a separator between; Liquid joins Python's own writing of lists."""
    between = to_text(separator, context)
    parts: list[str] = []
    length, is_wide = -len(between), not between.isascii()
    for item in items:
        part = to_text(item, context)
        length += len(part) + len(between)
        context.check_text(length)
        is_wide = is_wide or not part.isascii()
        parts.append(part)
    context.need(2 * length * (WIDE if is_wide else 1))
    return between.join(parts)


@with_context
def slice_(value: Any, start: object, length: object = 1, *, context: Context) -> Any:  # noqa: ANN401 - a text or a list
    """`slice`, measured before it is made."""
    first, count = _whole(start), _whole(length)
    end = first + count
    taken = range(*slice(first, None if first < 0 <= end else end).indices(len(value)))
    if isinstance(value, LISTS):
        context.check_items(len(taken))
        context.spend(LOOKED_AT * len(taken))
        return list(value[taken.start : taken.stop])
    context.check_text(len(taken))
    context.spend(WRITTEN * len(taken))
    return value[taken.start : taken.stop]


def _whole(number: object) -> int:
    if isinstance(number, int):
        return number
    if isinstance(number, str) and len(number) <= _MAX_DIGITS and number.strip().lstrip("+-").isdecimal():
        return int(number)
    raise FilterArgumentError("slice expects whole numbers", token=None)


#: Characters of the longest 64-bit number.
_MAX_DIGITS = 20


@with_context
@sequence_filter
def sort(items: Sequence[object], key: object = None, *, context: Context) -> list[object]:
    """`sort`: texts or numbers, or things by one of their keys; Liquid compares lists, however long, item by item."""
    by = [_sortable(item, key) for item in items]
    # Each is compared with about as many as its number has digits, and those may differ in their last character only.
    comparisons = len(by).bit_length()
    context.spend(sum(comparisons * COMPARED * len(value) for value in by if isinstance(value, str)))
    try:
        order = sorted(range(len(by)), key=by.__getitem__)
    except TypeError as error:
        raise FilterArgumentError("sort cannot compare its items with each other", token=None) from error
    return [items[index] for index in order]


@with_context
@sequence_filter
def sort_natural(items: Sequence[object], key: object = None, *, context: Context) -> list[object]:
    """`sort_natural`: upper and lower case alike; Liquid compares Python's own writing of lists."""
    by: list[str] = []
    size = 0
    comparisons = len(items).bit_length()
    for item in items:
        text = to_text(_sortable(item, key), context)
        context.spend((_LOWERED + comparisons * COMPARED) * len(text))
        size += ELEMENT_BYTES + bytes_of(text)
        context.need(size + 3 * bytes_of(text))
        by.append(text.lower())
    return [items[index] for index in sorted(range(len(by)), key=by.__getitem__)]


def _sortable(item: object, key: object) -> Any:  # noqa: ANN401 - a text or a number
    value = item
    if key:
        value = item.get(str(key), _LAST) if isinstance(item, dict) else _LAST
    if isinstance(value, CONTAINERS):
        raise FilterArgumentError("sort expects texts or numbers, or things that have them", token=None)
    return value


@with_context
@sequence_filter
def uniq(items: Sequence[Any], key: object = None, *, context: Context) -> list[Any]:
    """`uniq`: the first of equal items, or of items with equal values of a key; Liquid compares each with each."""
    kept: dict[str, Any] = {}
    size = 0
    for item in items:
        part = item.get(key) if key is not None and isinstance(item, dict) else item
        text = to_json(part, context, sort_keys=True)
        if text not in kept:
            kept[text] = item
            size += 2 * ELEMENT_BYTES + bytes_of(text)
            context.need(size)
    return list(kept.values())
