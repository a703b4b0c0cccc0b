"""A log file, line by line, into the store. Holds one batch at a time, however long the file is.

Killed at any line, whole batches are stored; importing the same file again stores the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from psycopg import Connection

from telemetry.adapters.fields import Unfit
from telemetry.adapters.lines import MAX_LINE_BYTES, Lines
from telemetry.events import Event, event_type
from telemetry.foreign import DAY_US, MAX_PAST_DAYS, Row, open_days, store_batch
from telemetry.rows import MalformedEvent, RowEncoder

#: Events of one transaction, at most.
BATCH_EVENTS: Final = 5000
#: Numbers of lines that are kept of each reason.
MAX_EXAMPLES: Final = 10
#: How far ahead of this machine's clock an event may be, in microseconds: clocks differ.
_AHEAD_US: Final = 60_000_000


@dataclass(slots=True)
class Misfit:
    """Lines that are no events for the same reason.

    Attributes:
        count: How many.
        lines: The first of their numbers, from 1.
    """

    count: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Imported:
    """What came of the lines.

    Attributes:
        lines: Those that are not blank.
        ignored: Those that the mapping says are no events.
        stored: Events that are new.
        known: Events that were stored before.
        hidden_names: Names that nobody declared, hidden behind a hash.
        types: Events by type, whether new or not, and also if their day is open no longer.
        misfits: By reason.
    """

    lines: int = 0
    ignored: int = 0
    stored: int = 0
    known: int = 0
    hidden_names: int = 0
    types: Counter[str] = field(default_factory=Counter)
    misfits: dict[str, Misfit] = field(default_factory=dict)

    def note_misfit(self, reason: str, line: int) -> None:
        """Count a line."""
        misfit = self.misfits.setdefault(reason, Misfit())
        misfit.count += 1
        if len(misfit.lines) < MAX_EXAMPLES:
            misfit.lines.append(line)


def import_lines(
    file: BinaryIO,
    lines: Lines,
    now_us: int,
    connection: Connection[Any] | None,
    after_batch: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Make events of the lines of a file, and store them.

    Args:
        file: Open for reading bytes, at its beginning; it need not be one that can be gone back in.
        lines: What makes events of them.
        now_us: Of this machine's clock, in microseconds since 1970.
        connection: In autocommit mode, fit for storing; none to look only.
        after_batch: Told after each batch how far in the file it is, in bytes.

    Raises:
        StoreUnavailable: Postgres did not answer; what is stored stays.
        OSError: The file could not be read on.
    """
    imported = Imported()
    encode = RowEncoder().encode
    batch: list[tuple[int, Row]] = []
    read = 0
    for number, offset, line in _numbered(file):
        read = offset + len(line)
        if not line.strip():
            continue
        imported.lines += 1
        try:
            event = lines.event(line, offset)
            if event is None:
                imported.ignored += 1
                continue
            row = _row(event, now_us, encode)
        except Unfit as unfit:
            imported.note_misfit(unfit.reason, number)
            continue
        imported.types[event_type(event)] += 1
        batch.append((number, row))
        if len(batch) == BATCH_EVENTS:
            _store(connection, batch, imported)
            batch = []
            after_batch(read)
    _store(connection, batch, imported)
    after_batch(read)
    imported.hidden_names, lines.hidden_names = lines.hidden_names, 0
    return imported


def _row(event: Event, now_us: int, encode: Callable[[Event], bytes]) -> Row:
    """The row of an event.

    Raises:
        Unfit: It is none, or of a time that nothing is kept of.
    """
    if event.occurred_at_us > now_us + _AHEAD_US:
        raise Unfit("time: in the future")
    if event.occurred_at_us < now_us - MAX_PAST_DAYS * DAY_US:
        raise Unfit(f"time: more than {MAX_PAST_DAYS} days ago")
    try:
        return event.occurred_at_us, encode(event)
    except MalformedEvent:
        raise Unfit("a value of another size or form than its column") from None


def _store(connection: Connection[Any] | None, batch: Sequence[tuple[int, Row]], imported: Imported) -> None:
    if connection is None or not batch:
        return
    opened = open_days(connection, {at_us // DAY_US for _, (at_us, _) in batch})
    rows = []
    for number, row in batch:
        if row[0] // DAY_US in opened:
            rows.append(row)
        else:
            imported.note_misfit("time: of a day whose own events are no longer kept", number)
    stored, known = store_batch(connection, lambda: rows)
    imported.stored += stored
    imported.known += known


def _numbered(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Lines with their number and the bytes before them; of one that is too long its beginning."""
    number, offset = 0, 0
    while line := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        length = len(line)
        while not line.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            length += len(rest)
            if rest.endswith(b"\n"):
                break
        yield number, offset, line.rstrip(b"\r\n")
        offset += length
