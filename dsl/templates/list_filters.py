"""Filters of lists that Weir does in its own way; each says why it is not Liquid's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.filter import sequence_filter, with_context

from dsl.templates.context import Context
from dsl.templates.costs import CONTAINERS
from dsl.templates.native import NotPlain, to_json, to_text
from dsl.templates.text_filters import too_long

#: Where items without the key go: to the end.
_LAST = chr(0x10FFFF)


def as_text(value: object, context: Context) -> str:
    """A value as the text that a filter of texts works on.

    Raises:
        FilterArgumentError: It has none, or too long a one.
    """
    try:
        return to_text(value, context.max_text, context)
    except NotPlain as error:
        raise FilterArgumentError(str(error), token=None) from error


def as_json(value: object, context: Context, *, sort_keys: bool = False) -> str:
    """A value as JSON.

    Raises:
        FilterArgumentError: It cannot be, or would be too long.
    """
    try:
        return to_json(value, context.max_text, context, sort_keys=sort_keys)
    except NotPlain as error:
        raise FilterArgumentError(str(error), token=None) from error


@with_context
@sequence_filter
def join(items: Sequence[object], separator: object = " ", *, context: Context) -> str:
    """`join`: items as text, with a separator between; Liquid joins Python's own writing of lists."""
    between = as_text(separator, context)
    parts: list[str] = []
    length = 0
    for item in items:
        part = as_text(item, context)
        length += len(part) + len(between)
        if length > context.max_text + len(between):
            raise too_long(context.max_text)
        parts.append(part)
    return between.join(parts)


@sequence_filter
def sort(items: Sequence[object], key: object = None) -> list[object]:
    """`sort`: texts or numbers, or things by one of their keys; Liquid compares lists, however long, item by item."""
    by = [_sortable(item, key) for item in items]
    try:
        order = sorted(range(len(by)), key=by.__getitem__)
    except TypeError as error:
        raise FilterArgumentError("sort cannot compare its items with each other", token=None) from error
    return [items[index] for index in order]


@with_context
@sequence_filter
def sort_natural(items: Sequence[object], key: object = None, *, context: Context) -> list[object]:
    """`sort_natural`: upper and lower case alike; Liquid compares Python's own writing of lists."""
    by = [as_text(_sortable(item, key), context).lower() for item in items]
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
    for item in items:
        part = item.get(key) if key is not None and isinstance(item, dict) else item
        kept.setdefault(as_json(part, context, sort_keys=True), item)
    return list(kept.values())
