"""From what Liquid makes to plain JSON values and text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from liquid.undefined import Undefined

from dsl.templates.costs import CHECKED, CONTAINERS, ENCODED, ENCODED_CHARACTER, LISTS, Meter
from dsl.values import MAX_DEPTH, MAX_INT, MIN_INT

#: What an element of a list or mapping weighs beside its content, in characters.
_ELEMENT = 8


class NotPlain(ValueError):
    """A value that JSON or Postgres cannot keep; the text says why."""


def plain(value: object, limit: int, meter: Meter) -> Any:  # noqa: ANN401 - any JSON value
    """A value in plain JSON types: what Liquid's filters made of it becomes lists, numbers and text again.

    Args:
        value: Anything a template can evaluate to; not changed. What is plain already is not copied.
        limit: Characters it may hold, each element counting as 8 more.
        meter: Pays for looking at it.

    Raises:
        NotPlain: It is not JSON, out of range, or too large.
        UndefinedError: It stands for a missing name, or holds one.
        ResourceLimitError: The budget is used up.
    """
    return _Plain(limit, meter).of(value, 0)


class _Plain:
    __slots__ = ("count", "left", "limit", "meter")

    def __init__(self, limit: int, meter: Meter) -> None:
        self.limit = self.left = limit
        self.meter = meter
        self.count = 0

    def of(self, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        kind = type(value)
        if kind is bool or value is None:
            return value
        if isinstance(value, str):
            self.take(len(value))
            return value if kind is str else str(value)
        if isinstance(value, int):
            if MIN_INT <= value <= MAX_INT:
                return value if kind is int else int(value)
            raise NotPlain("a whole number is larger than 64 bits")
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            raise NotPlain("a number is infinite or not a number")
        if isinstance(value, Undefined):
            value.poke()
        if depth >= MAX_DEPTH:
            raise NotPlain(f"values are nested deeper than {MAX_DEPTH}")
        return self.container(value, depth + 1)

    def container(self, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, Mapping):
            self.elements(2 * len(value))
            made = {self.of(str(key), depth): self.of(item, depth) for key, item in value.items()}
            same = type(value) is dict and all(made.get(key) is item for key, item in value.items())
            return value if same else made
        if isinstance(value, LISTS):
            self.elements(len(value))
            items = [self.of(item, depth) for item in value]
            same = type(value) is list and all(made is item for made, item in zip(items, value, strict=True))
            return value if same else items
        if value == None:  # noqa: E711 - Liquid's own nulls only say so by ==
            return None
        if value == "":
            return ""  # Liquid's `empty` and `blank`
        raise NotPlain(f"{type(value).__name__} is not a value")

    def elements(self, count: int) -> None:
        self.count += count
        self.take(_ELEMENT * count)
        self.meter.spend(CHECKED * (count + 1))

    def take(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise NotPlain(f"the value is larger than {self.limit} characters")


def to_json(value: object, limit: int, meter: Meter, *, sort_keys: bool = False) -> str:
    """A value as compact JSON text, not ASCII only.

    Args:
        value: Anything a template can evaluate to.
        limit: As of `plain`.
        meter: Pays for it.
        sort_keys: Whether equal values give equal texts.

    Raises:
        NotPlain: As `plain`.
        ResourceLimitError: The budget is used up.
    """
    encoding = _Plain(limit, meter)
    encoded = encoding.of(value, 0)
    meter.spend(ENCODED * (encoding.count + 1) + ENCODED_CHARACTER * (limit - encoding.left))
    return json.dumps(encoded, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)


def to_text(value: object, limit: int, meter: Meter) -> str:
    """A value inside a text: text as it is, null as nothing, lists and mappings as JSON.

    Raises:
        NotPlain: As `plain`.
        ResourceLimitError: The budget is used up.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, CONTAINERS):
        return to_json(value, limit, meter)
    value = plain(value, limit, meter)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
