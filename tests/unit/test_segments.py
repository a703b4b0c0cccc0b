"""Records of the spool: whatever becomes of a file, what is read was written, and damage costs what it hit."""

from __future__ import annotations

import pytest

from telemetry.segments import Record, encode_record, read_records

RECORDS = [Record(b"first", 1), Record(b"", 0), Record(b"third" * 100, 100)]


def written(records: list[Record]) -> bytes:
    return b"".join(map(encode_record, records))


def test_records_come_back_in_order() -> None:
    assert read_records(written(RECORDS)) == (RECORDS, 0)


def test_an_empty_file_holds_none() -> None:
    assert read_records(b"") == ([], 0)


@pytest.mark.req("C-13")
@pytest.mark.parametrize("cut", [1, 10, 200, 515])
def test_a_torn_end_costs_the_record_that_is_torn(cut: int) -> None:
    data = written(RECORDS)[:-cut]

    assert read_records(data) == (RECORDS[:2], RECORDS[2].size_bytes - cut)


@pytest.mark.req("C-13")
def test_zeros_where_a_machine_lost_power_are_no_records() -> None:
    assert read_records(written(RECORDS) + bytes(4096)) == (RECORDS, 4096)


@pytest.mark.req("C-13")
@pytest.mark.parametrize("at", [0, 3, 4, 7, 8, 12, 16, 18], ids=lambda at: f"byte-{at}")
def test_a_changed_byte_costs_the_record_that_it_is_in(at: int) -> None:
    data = bytearray(written(RECORDS))
    data[at] ^= 0x41

    assert read_records(bytes(data)) == (RECORDS[1:], RECORDS[0].size_bytes)


def test_a_size_is_what_is_written() -> None:
    assert [len(encode_record(record)) for record in RECORDS] == [record.size_bytes for record in RECORDS]
