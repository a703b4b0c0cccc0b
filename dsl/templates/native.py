"""From what Liquid makes to plain JSON values and text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from liquid.undefined import Undefined

from dsl.values import MAX_DEPTH, MAX_INT, MIN_INT

#: What an element of a list or mapping weighs beside its content, in characters.
_ELEMENT = 8


class NotPlain(ValueError):
    """A value that JSON or Postgres cannot keep; the text says why."""


def plain(value: object, limit: int) -> Any:  # noqa: ANN401 - any JSON value
    """A copy made of plain JSON types: what Liquid's filters made of it becomes lists, numbers and text again.

    Args:
        value: Anything a template can evaluate to.
        limit: Characters it may hold, each element counting as 8 more.

    Raises:
        NotPlain: It is not JSON, out of range, or too large.
        UndefinedError: It stands for a missing name, or holds one.
    """
    return _Copier(limit).copy(value, 0)


class _Copier:
    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def copy(self, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        kind = type(value)
        if kind is bool or value is None:
            return value
        if isinstance(value, str):
            self.take(len(value))
            return str(value)
        if isinstance(value, int):
            if MIN_INT <= value <= MAX_INT:
                return int(value)
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
            self.take(_ELEMENT * len(value))
            return {self.copy(str(key), depth): self.copy(item, depth) for key, item in value.items()}
        if isinstance(value, list | tuple | range):
            self.take(_ELEMENT * len(value))
            return [self.copy(item, depth) for item in value]
        if value == None:  # noqa: E711 - Liquid's own nulls only say so by ==
            return None
        if value == "":
            return ""  # Liquid's `empty` and `blank`
        raise NotPlain(f"{type(value).__name__} is not a value")

    def take(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise NotPlain(f"the value is larger than {self.limit} characters")


def to_json(value: object, limit: int) -> str:
    """A value as compact JSON text, not ASCII only.

    Raises:
        NotPlain: As `plain`.
    """
    return json.dumps(plain(value, limit), ensure_ascii=False, separators=(",", ":"))


def to_text(value: object, limit: int) -> str:
    """A value inside a text: text as it is, null as nothing, lists and mappings as JSON.

    Raises:
        NotPlain: As `plain`.
    """
    if isinstance(value, str):
        return value
    value = plain(value, limit)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
