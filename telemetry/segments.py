"""Records in a segment file of the spool: how one is written, and found again whatever happened. Pure: no I/O.

    record    marker, 4 bytes | bytes of the payload, u32 | events in it, u32 | CRC-32 of numbers and payload | payload

A process that is killed, or a disk that is full, leaves a record half written; a disk that ages changes bytes. What
does not check is skipped up to the next marker behind which a whole record stands, so damage costs the records that it
hit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

_MARKER: Final = b"\xf5wS\x01"
_NUMBERS: Final = struct.Struct(">II")
_CHECKSUM: Final = struct.Struct(">I")
_HEAD_BYTES: Final = len(_MARKER) + _NUMBERS.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Record:
    """One batch as it waits on disk.

    Attributes:
        payload: The stream entry, as it will be appended.
        events: How many are in it.
    """

    payload: bytes
    events: int

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return _HEAD_BYTES + len(self.payload)


def encode_record(record: Record) -> bytes:
    """The bytes of a record in its segment."""
    numbers = _NUMBERS.pack(len(record.payload), record.events)
    checksum = _CHECKSUM.pack(crc32(record.payload, crc32(numbers)))
    return b"".join((_MARKER, numbers, checksum, record.payload))


def read_records(data: bytes) -> tuple[list[Record], int]:
    """The whole records of a segment, in order, and how many bytes are none: a torn end, or damage."""
    records: list[Record] = []
    at = data.find(_MARKER)
    while at >= 0:
        record = _record_at(data, at)
        if record is None:
            at += 1
        else:
            records.append(record)
            at += record.size_bytes
        at = data.find(_MARKER, at)
    return records, len(data) - sum(record.size_bytes for record in records)


def _record_at(data: bytes, at: int) -> Record | None:
    """The record whose marker is there, if all of it is, and is as it was written."""
    begin = at + _HEAD_BYTES
    if begin > len(data):
        return None
    numbers_at = at + len(_MARKER)
    size, events = _NUMBERS.unpack_from(data, numbers_at)
    (checksum,) = _CHECKSUM.unpack_from(data, numbers_at + _NUMBERS.size)
    payload = data[begin : begin + size]
    if len(payload) < size or checksum != crc32(payload, crc32(_NUMBERS.pack(size, events))):
        return None
    return Record(payload, events)
