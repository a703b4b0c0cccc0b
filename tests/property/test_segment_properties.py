"""Segments of the spool: torn and damaged in any way, they give back nothing that was not written, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.segments import Record, encode_record, read_records

records = st.lists(st.builds(Record, st.binary(max_size=300), st.integers(0, 10_000)), max_size=12)


def places(written: list[Record]) -> list[range]:
    """Where each record is in its file."""
    found, at = [], 0
    for record in written:
        found.append(range(at, at + record.size_bytes))
        at += record.size_bytes
    return found


@pytest.mark.req("C-13")
@given(records, st.data())
def test_a_file_torn_anywhere_gives_back_every_record_before(written: list[Record], data: st.DataObject) -> None:
    file = b"".join(map(encode_record, written))
    end = data.draw(st.integers(0, len(file)))

    found, lost_bytes = read_records(file[:end])

    assert found == [record for record, place in zip(written, places(written), strict=True) if place.stop <= end]
    assert lost_bytes == end - sum(record.size_bytes for record in found)


@pytest.mark.req("C-13")
@given(records.filter(bool), st.data())
def test_changed_bytes_cost_the_records_they_are_in(written: list[Record], data: st.DataObject) -> None:
    file = bytearray(b"".join(map(encode_record, written)))
    hits = data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=4, unique=True))
    for at in hits:
        file[at] ^= data.draw(st.integers(1, 255))

    found, lost_bytes = read_records(bytes(file))

    whole = [
        record for record, place in zip(written, places(written), strict=True) if not any(at in place for at in hits)
    ]
    assert found == whole
    assert lost_bytes == len(file) - sum(record.size_bytes for record in whole)


@pytest.mark.req("C-13")
@given(st.binary(max_size=2000))
def test_anything_at_all_can_be_read(file: bytes) -> None:
    found, lost_bytes = read_records(file)

    assert lost_bytes == len(file) - sum(record.size_bytes for record in found)
