"""How records look in a file: one JSON array, JSON lines, or CSV. Pure.

A cell of CSV that a spreadsheet would take for a formula (https://owasp.org/www-community/attacks/CSV_Injection) has an
apostrophe before it. So has a text that begins with an apostrophe: whoever takes away one that is first in a text has
the text again. Numbers are no texts, and stay as they are. What is not there is an empty cell; objects are JSON.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

Record = Mapping[str, Any]

#: A text that begins so gets an apostrophe: formulas, what spreadsheets skip before one, the same signs in full width.
GUARDED: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of file.

    Attributes:
        head: What a file begins with, from the names of its fields.
        body: Records, from their values and whether they are the first of the file.
        tail: What a file ends with, from whether it has records.
    """

    head: Callable[[Sequence[str]], bytes]
    body: Callable[[Sequence[Record], bool], bytes]
    tail: Callable[[bool], bytes]


def cell(value: object) -> object:
    """A value as a cell of CSV."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(GUARDED) else value
    if isinstance(value, (Mapping, list, tuple, bool)):
        return _encode(value).decode()
    return value


def _nothing(_: object) -> bytes:
    return b""


def _lines(records: Sequence[Record], _is_first: bool) -> bytes:
    return b"".join([_encode(record) + b"\n" for record in records])


def _items(records: Sequence[Record], is_first: bool) -> bytes:
    return (b"\n" if is_first else b",\n") + b",\n".join([_encode(record) for record in records])


def _rows(records: Sequence[Record], _is_first: bool) -> bytes:
    return _csv([[cell(value) for value in record.values()] for record in records])


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    # Lines end as RFC 4180 has it; with a line feed alone, the writer would leave a lone carriage return unquoted.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


FORMS: Final[Mapping[str, Form]] = {
    "jsonl": Form(_nothing, _lines, _nothing),
    "json": Form(lambda _: b"[", _items, lambda has_records: b"\n]\n" if has_records else b"]\n"),
    "csv": Form(lambda fields: _csv([fields]), _rows, _nothing),
}
