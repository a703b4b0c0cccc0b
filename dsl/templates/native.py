"""From what Liquid makes to plain JSON values and text."""

from __future__ import annotations

import json
import math
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.undefined import Undefined

from dsl.templates.context import Context
from dsl.templates.costs import CHECKED, CONTAINERS, ENCODED, ENCODED_CHARACTER, LISTS, WIDE, TooMuch
from dsl.values import MAX_DEPTH, MAX_INT, MIN_INT

#: What an element of a list or mapping weighs beside its content, in characters.
_ELEMENT = 8

_KINDS = ((str, "a text"), ((int, float), "a number"), (LISTS, "a list"), (dict, "a mapping"))

#: What JSON writes as two characters, and what as six; how many more that are.
_ESCAPES = ((b'"\\\b\f\n\r\t', 1), (bytes({*range(32)} - {*b"\b\f\n\r\t"}), 5))

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SORTING_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)

#: Characters of JSON that are small whatever they become.
_SMALL = 50_000


class NotPlain(FilterArgumentError):
    """A value that JSON or Postgres cannot keep. Of this class because python-liquid gives it the filter's place."""

    def __init__(self, message: str) -> None:
        super().__init__(message, token=None)


def kind_of(value: object) -> str:
    """What a value is, for a person."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    return next((kind for types, kind in _KINDS if isinstance(value, types)), "this")


def plain(value: object, limit: int, context: Context) -> Any:  # noqa: ANN401 - any JSON value
    """A value in plain JSON types: what Liquid's filters made of it becomes lists, numbers and text again.

    Args:
        value: Anything a template can evaluate to; not changed. What is plain already is not copied.
        limit: Characters it may hold, each element counting as 8 more.
        context: Pays for looking at it.

    Raises:
        NotPlain: It is not JSON, or out of range.
        UndefinedError: It stands for a missing name, or holds one.
        TooMuch: It is too large, or the budget is used up.
    """
    return _Plain(limit, "max_execution_output_bytes", context).of(value, 0)


class _Plain:
    __slots__ = ("context", "count", "is_wide", "left", "limit", "setting")

    def __init__(self, limit: int, setting: str, context: Context) -> None:
        self.limit = self.left = limit
        self.setting = setting
        self.context = context
        self.count = 0
        self.is_wide = False

    @property
    def characters(self) -> int:
        """How many it looked at."""
        return self.limit - self.left

    def of(self, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        kind = type(value)
        if isinstance(value, str):
            self.left -= len(value)
            if self.left < 0:
                raise self.too_large()
            if not value.isascii():
                self.is_wide = True
            return value if kind is str else str(value)
        if kind is bool or value is None:
            return value
        if isinstance(value, int):
            if MIN_INT <= value <= MAX_INT:
                return value if kind is int else int(value)
            raise NotPlain("a whole number is larger than 64 bits")
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            raise NotPlain("a number is infinite or not a number")
        if depth >= MAX_DEPTH:
            raise NotPlain(f"values are nested deeper than {MAX_DEPTH}")
        return self.container(value, depth + 1)

    def container(self, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            self.elements(2 * len(value))
            made = {self.of(key, depth): self.of(item, depth) for key, item in value.items()}
            return value if all(made[key] is item for key, item in value.items()) else made
        if isinstance(value, LISTS):
            self.elements(len(value))
            items = [self.of(item, depth) for item in value]
            same = type(value) is list and all(made is item for made, item in zip(items, value, strict=True))
            return value if same else items
        if isinstance(value, Undefined):
            value.poke()
        if value == None:  # noqa: E711 - Liquid's own nulls only say so by ==
            return None
        if value == "":
            return ""  # Liquid's `empty` and `blank`
        raise NotPlain("`forloop` is not a value; name one of its properties, such as `forloop.index`")

    def elements(self, count: int) -> None:
        self.count += count
        self.left -= _ELEMENT * count
        if self.left < 0:
            raise self.too_large()
        self.context.spend(CHECKED * (count + 1))

    def too_large(self) -> TooMuch:
        return TooMuch(f"the value is larger than {self.limit} characters", self.setting)


def to_json(value: object, context: Context, *, limit: int = 0, sort_keys: bool = False) -> str:
    """A value as compact JSON text, not ASCII only.

    Args:
        value: Anything a template can evaluate to.
        context: Pays for it.
        limit: Characters it may have, if not those of any text.
        sort_keys: Whether equal values give equal texts.

    Raises:
        NotPlain: As `plain`.
        TooMuch: It is too large, or the budget is used up.
    """
    looked = _Plain(limit or context.max_text, "max_render_bytes", context)
    encoded = looked.of(value, 0)
    context.spend(ENCODED * (looked.count + 1) + ENCODED_CHARACTER * looked.characters)
    if looked.characters > _SMALL:
        context.spend(ENCODED * looked.count)
        length = looked.characters + _escapes(encoded)
        context.check_text(length)
        context.need(2 * length * (WIDE if looked.is_wide else 1))  # in pieces, and as a whole
    return (_SORTING_ENCODER if sort_keys else _ENCODER).encode(encoded)


def _escapes(value: object) -> int:
    """Characters that a value's texts are longer as JSON."""
    if isinstance(value, str):
        raw = value.encode()
        return sum(more * (len(raw) - len(raw.translate(None, escaped))) for escaped, more in _ESCAPES)
    if isinstance(value, list):
        return sum(map(_escapes, value))
    return sum(_escapes(key) + _escapes(item) for key, item in value.items()) if isinstance(value, dict) else 0


def to_text(value: object, context: Context, *, limit: int = 0) -> str:
    """A value inside a text: text as it is, null as nothing, lists and mappings as JSON.

    Raises:
        NotPlain: As `plain`.
        TooMuch: It is too large, or the budget is used up.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, CONTAINERS):
        return to_json(value, context, limit=limit)
    value = plain(value, context.max_text, context)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
