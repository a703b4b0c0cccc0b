"""An event as its stored row, and that as the telemetry API gives it: encoded as by the sink, shaped as by the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

from telemetry.clock import from_unix_us
from telemetry.events import Event
from telemetry.query import StoredEvent, event_json
from telemetry.rows import COLUMNS, RowEncoder

_EPOCH_2000_US: Final = 946_684_800_000_000


def as_json(event: Event) -> dict[str, Any]:
    """The event as `GET /api/telemetry/events` gives it, without what is null."""
    columns = zip(COLUMNS, _columns(RowEncoder().encode(event)), strict=True)
    stored: dict[str, Any] = {name: None if value is None else _read(name, value) for name, value in columns}
    shown = event_json(StoredEvent(**stored))
    return {name: value for name, value in shown.items() if value is not None and value != {}}


def _columns(row: bytes) -> Iterator[bytes | None]:
    """The columns of a row of binary COPY: a count, then for each its length (-1 for null) and its bytes."""
    at = 2
    for _ in range(int.from_bytes(row[:2])):
        length = int.from_bytes(row[at : at + 4], signed=True)
        at += 4
        yield None if length < 0 else row[at : at + length]
        at += max(0, length)


def _read(name: str, value: bytes) -> Any:  # noqa: ANN401 - the value of any column
    return _READERS.get(name, bytes.decode)(value)


def _number(value: bytes) -> int:
    return int.from_bytes(value, signed=True)


def _id(value: bytes) -> UUID:
    return UUID(bytes=value)


#: How columns are read that are not text.
_READERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "occurred_at": lambda value: from_unix_us(_number(value) + _EPOCH_2000_US),
    "dry_run": lambda value: value == b"\x01",
    "measures": lambda value: json.loads(value[1:]),  # after the version of jsonb
    **dict.fromkeys(("duration_us", "step_try", "attempt", "mutations_count"), _number),
    **dict.fromkeys(("user_id", "definition_hash", "error_fingerprint"), bytes),
    **dict.fromkeys(("event_id", "correlation_id", "execution_id", "parent_id", "space_id", "fragment_id"), _id),
}
