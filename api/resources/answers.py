"""Answers: JSON straight from rows, pages of lists, and the cursors between them."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from flask import Response

from api.problems import CursorInvalid, RequestInvalid
from api.resources.context import settings
from dsl.errors import Fault

T = TypeVar("T")
V = TypeVar("V", UUID, int, str)

#: Characters; nobody makes a longer one.
_MAX_CURSOR = 2000


def _plain(value: object) -> object:
    """What msgspec does not know: read-only mappings as objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def json_bytes(body: object) -> bytes:
    """JSON in one line; UUIDs and instants become texts."""
    return _encoder.encode(body)


def json_answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body; UUIDs and instants become texts."""
    return Response(_encoder.encode(body), status, headers, mimetype="application/json")


def page_limit(given: int | None) -> int:
    """How many items a page may have.

    Raises:
        RequestInvalid: More than the settings allow were asked for.
    """
    telemetry = settings().telemetry
    if given is None:
        return telemetry.query_default_limit
    if given > telemetry.query_max_limit:
        message = f"limit: at most {telemetry.query_max_limit}"
        raise RequestInvalid([Fault("request.limit", message, path="limit")])
    return given


def page(
    rows: Sequence[T], limit: int, to_json: Callable[[T], Mapping[str, Any]], cursor_of: Callable[[T], str]
) -> dict[str, Any]:
    """The body of a list.

    Args:
        rows: One more than `limit`, if there is more.
        limit: Items of this page.
        to_json: A row's JSON.
        cursor_of: The cursor that begins after a row.
    """
    shown = rows[:limit]
    following = cursor_of(shown[-1]) if len(rows) > limit else None
    return {"items": [to_json(row) for row in shown], "next_cursor": following}


def make_cursor(kind: str, value: UUID | int | str) -> str:
    """An opaque cursor of one kind of list."""
    return urlsafe_b64encode(f"{kind}:{value}".encode()).decode().rstrip("=")


def id_from_cursor(kind: str, cursor: str | None) -> UUID | None:
    """The id in a cursor made with `make_cursor`.

    Raises:
        CursorInvalid: It was not made so, or for another list.
    """
    return None if cursor is None else _checked(kind, cursor, UUID)


def number_from_cursor(kind: str, cursor: str | None) -> int | None:
    """As `id_from_cursor`, for numbers."""
    return None if cursor is None else _checked(kind, cursor, int)


def text_from_cursor(kind: str, cursor: str | None, parse: Callable[[str], T]) -> T | None:
    """As `id_from_cursor`, for texts in ASCII; `parse` raises ValueError for one that is none."""
    if cursor is None:
        return None
    text = _checked(kind, cursor, str)
    try:
        return parse(text)
    except ValueError as error:
        raise _not_ours() from error


def _checked(kind: str, cursor: str, parse: Callable[[str], V]) -> V:
    try:
        value = parse(_read(kind, cursor))
    except (ValueError, binascii.Error):
        raise _not_ours() from None
    # Only what this function's counterpart writes, to the letter, is a cursor.
    if make_cursor(kind, value) != cursor:
        raise _not_ours()
    return value


def _not_ours() -> CursorInvalid:
    return CursorInvalid("the cursor was not made by this list", hint="Leave it out to begin again.")


def _read(kind: str, cursor: str) -> str:
    padded = cursor[:_MAX_CURSOR] + "=" * (-len(cursor) % 4)
    return urlsafe_b64decode(padded.encode("ascii")).decode("ascii").removeprefix(f"{kind}:")
