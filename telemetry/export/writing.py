"""Writing an export: pages of records, appended to files that have their names once all of it is there.

What is written does not depend on when it is written, nor on how often it was broken off. When it begins, it notes the
position of storing (`telemetry.query.position`) and how many records there are: what is stored later belongs to
transactions of a later position, however old its events are, and is not read. Pages follow the ids, and each page is,
in each file, a compressed stream of its own (gzip readers take several in a row for one), without the time. Killed at
any line, it goes on from the page that its journal names. What it cannot keep is what is deleted meanwhile: then fewer
records were written than there were, which is said, and no file gets its name.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import Connection

from telemetry.clock import Clock
from telemetry.connections import connect
from telemetry.errors import ExportChanged, ExportOther, ExportTooLarge
from telemetry.export.forms import FORMS, Form, Record
from telemetry.export.journal import VERSION, Journal, Piece, Place, writing
from telemetry.export.request import ExportRequest
from telemetry.export.sources import Source
from telemetry.patience import PatientConnection
from telemetry.query import end_position, position, store_errors
from telemetry.whole_files import checksum_of, create, digest, publish, replace, sync

#: Records of a page: what is held in memory, and what a compressed stream is made of.
PAGE_ROWS: Final = 2000
#: How long one page, or counting everything, may take: a filter that few events match reads many for one page.
STATEMENT_TIMEOUT: Final = timedelta(minutes=5)
#: How long what is just being stored is waited for: milliseconds, unless somebody holds a transaction open.
PATIENCE: Final = timedelta(seconds=5)
_LOOK_EVERY_S: Final = 0.02
#: Bytes of a file, unless somebody says otherwise.
MAX_BYTES: Final = 100_000_000
#: Microseconds after which what was written is brought to disk and noted.
_NOTED_EVERY_US: Final = 1_000_000
_LEVEL: Final = 6


class Limit(NamedTuple):
    """How large files may be.

    Attributes:
        bytes: At most so many.
        is_of_all: All files together, rather than each.
    """

    bytes: int = MAX_BYTES
    is_of_all: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is.

    Attributes:
        rows: Records written.
        total: Records to be written.
        bytes: Of files, so far.
    """

    rows: int
    total: int
    bytes: int


Tell = Callable[[Progress], None]


def open_reader(url: str, *, statement_timeout: timedelta = STATEMENT_TIMEOUT) -> PatientConnection:
    """A connection for exports, which cannot write. A page, or the count, takes no longer than the timeout.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    connection = connect(url, name="weir export", autocommit=True, statement_timeout=statement_timeout)
    with store_errors():
        connection.execute("set default_transaction_read_only = on")
        connection.execute("set default_transaction_isolation = 'repeatable read'")
    return connection


class Export:
    """One export, begun or to be gone on with. Hold `place.claimed()` around all that is done with it.

    Args:
        request: What is exported, and how.
        sources: Events, then the records beside them; at each time the same.
        target: The file; of several, what their names are made of.
        asked: A hash of what was typed or sent.
        limit: How large it may get.
        clock: For the times of the manifest.
    """

    def __init__(  # noqa: PLR0913 - one per thing that is decided
        self, request: ExportRequest, sources: Sequence[Source], target: Path, *, asked: str, limit: Limit, clock: Clock
    ) -> None:
        self.place = Place(target, request)
        self._request, self._sources, self._limit, self._clock = request, tuple(sources), limit, clock
        self._asked = asked
        self._form: Form = FORMS[request.form]
        self._dirty: set[str] = set()
        self._noted_us = self._clock.monotonic_us()
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal:
        """How far it is; after `begin` or `resume`."""
        assert self._journal is not None  # noqa: S101 - as documented
        return self._journal

    def begin(self, connection: Connection[Any], *, replaces: bool = False, patience: timedelta = PATIENCE) -> None:
        """Fix what is exported; nothing is written yet but the journal.

        Args:
            connection: Of `open_reader`.
            replaces: Whether what is there may go.
            patience: How long to wait for what is just being stored.

        Raises:
            ExportExists: Something is there.
            ExportUnwritable: The folder cannot be written to.
            StoreTooSlow, StoreUnavailable: It could not be counted.
        """
        with writing(self.place.folder):
            if not replaces:
                self.place.require_free()
            self.place.forget()
        now = self._clock.now().isoformat()
        with store_errors():
            stored_before, lacks_newest = self._position(connection, patience)
            totals = {source.name: source.count(connection, stored_before) for source in self._sources}
        self._journal = Journal(self._request.public(), self._asked, stored_before, lacks_newest, now, totals)
        with writing(self.place.folder):
            self._note()

    def resume(self) -> None:
        """Go on where the journal says; what files have beyond it is cut off.

        Raises:
            ExportOther: There is no journal, it is that of another export, or files are not as it says.
            ExportUnwritable: They cannot be cut.
        """
        journal = self.place.read(self._asked)
        with writing(self.place.folder):
            for piece in journal.pieces.values():
                self._cut(piece, is_written=journal.is_written)
        self._journal = journal

    def run(self, connection: Connection[Any], go_on: Callable[[], bool], tell: Tell) -> dict[str, Any] | None:
        """Write until all is written, and give the files their names.

        Returns the manifest; none if it was told to stop.

        Args:
            connection: Of `open_reader`.
            go_on: Asked before each page.
            tell: Called after each.

        Raises:
            ExportTooLarge: A file would get larger than it may; what is there can be resumed.
            ExportUnwritable: A file cannot be written; what was noted can be resumed.
            ExportChanged: Something was deleted before it was written. Begin anew.
            StoreTooSlow, StoreUnavailable: Postgres did not answer; what was noted can be resumed.
        """
        with writing(self.place.folder):
            for number, source in enumerate(self._sources):
                if number >= self.journal.source and not self._write(connection, source, number, go_on, tell):
                    self._note()
                    return None
            self._end()
            return self._publish()

    def _position(self, connection: Connection[Any], patience: timedelta) -> tuple[int, bool]:
        """The position of this moment, once all before it has ended; or how far it is by then, and that it is not."""
        wanted = end_position(connection)
        until_us = self._clock.monotonic_us() + patience // timedelta(microseconds=1)
        while (found := position(connection)) < wanted:
            if self._clock.monotonic_us() >= until_us:
                return found, True
            sleep(_LOOK_EVERY_S)
        return wanted, False

    def _write(
        self, connection: Connection[Any], source: Source, number: int, go_on: Callable[[], bool], tell: Tell
    ) -> bool:
        """The rest of a source; false if it was told to stop."""
        journal = self.journal
        if number > journal.source:
            journal.source, journal.after = number, None
        while not journal.is_written:
            if not go_on():
                return False
            with store_errors():
                page = source.page(connection, journal.position, journal.after, PAGE_ROWS)
            if page:
                self._append(source, page)
                journal.after = page[-1][0]
                journal.done[source.name] = journal.done.get(source.name, 0) + len(page)
                tell(Progress(journal.rows, journal.total, journal.bytes))
            if len(page) < PAGE_ROWS:
                break
            if self._clock.monotonic_us() - self._noted_us >= _NOTED_EVERY_US:
                self._note()
        return True

    def _append(self, source: Source, page: Sequence[tuple[str, Record]]) -> None:
        """A page, to each file its records."""
        journal = self.journal
        parts: dict[str, list[tuple[str, Record]]] = {}
        for record_id, record in page:
            part = None if source.part is None else source.part(record)
            parts.setdefault(self.place.name(source.name, part), []).append((record_id, record))
        pieces = {name: journal.pieces.get(name) or Piece(name, source.name) for name in parts}
        data = {name: self._encoded(source, pieces[name], [each for _, each in parts[name]]) for name in parts}
        self._require_room(source, pieces, data)
        for name, piece in pieces.items():
            # One that is new may have been begun before without having been noted.
            with create(self.place.partial(piece)) if piece.rows == 0 else self.place.partial(piece).open("ab") as file:
                file.write(data[name])
            piece.rows, piece.bytes = piece.rows + len(parts[name]), piece.bytes + len(data[name])
            piece.first, piece.last = piece.first or parts[name][0][0], parts[name][-1][0]
            journal.pieces[name] = piece
            self._dirty.add(name)

    def _encoded(self, source: Source, piece: Piece, records: Sequence[Record]) -> bytes:
        head = self._form.head(source.fields) if piece.rows == 0 else b""
        return self._packed(head + self._form.body(records, piece.rows == 0))

    def _packed(self, data: bytes) -> bytes:
        return gzip.compress(data, _LEVEL, mtime=0) if self._request.is_compressed and data else data

    def _require_room(self, source: Source, pieces: Mapping[str, Piece], data: Mapping[str, bytes]) -> None:
        tail = len(self._packed(self._form.tail(True)))
        if self._limit.is_of_all:
            names = self.journal.pieces.keys() | pieces.keys()
            sizes = {"all files together": self.journal.bytes + sum(map(len, data.values())) + tail * len(names)}
        else:
            sizes = {name: pieces[name].bytes + len(data[name]) + tail for name in pieces}
        largest = max(sizes, key=lambda name: sizes[name])
        if sizes[largest] <= self._limit.bytes:
            return
        self._note()
        raise self._too_large(source, largest)

    def _too_large(self, source: Source, largest: str) -> ExportTooLarge:
        journal = self.journal
        after = None if journal.after is None else source.time(journal.after)
        reached = "" if after is None else f" ({source.name} until {after})"
        rest = journal.total - journal.rows
        return ExportTooLarge(
            f"{largest} would get larger than {_size(self._limit.bytes)}: {journal.rows} of {journal.total} rows are"
            f" written{reached}, {rest} are missing; no file has its name yet",
            hint="Resume it with a larger size, or begin anew with a shorter time, compressed, or split into several"
            " files.",
            rows=journal.rows,
            missing=rest,
            written_until=after,
        )

    def _note(self) -> None:
        """Bring what was written to disk, then say so."""
        for name in sorted(self._dirty):
            with self.place.partial(self.journal.pieces[name]).open("ab") as file:
                sync(file)
        self.place.write(self.journal)
        self._dirty.clear()
        self._noted_us = self._clock.monotonic_us()

    def _end(self) -> None:
        """See that all is there, and end every file."""
        journal = self.journal
        if journal.is_written:
            return
        missing = {name: total - journal.done.get(name, 0) for name, total in journal.totals.items()}
        if any(missing.values()):
            raise ExportChanged(
                f"{sum(missing.values())} of {journal.total} rows were deleted before they were written: cleanup ran"
                " meanwhile",
                hint="Begin anew; what is there now is exported then.",
                missing=sum(missing.values()),
            )
        self._begin_empty()
        for piece in journal.pieces.values():
            tail = self._packed(self._form.tail(piece.rows > 0))
            with self.place.partial(piece).open("ab") as file:
                file.write(tail)
            piece.bytes += len(tail)
            self._dirty.add(piece.name)
        journal.is_written = True
        self._note()

    def _begin_empty(self) -> None:
        """A file for what has no records: of events, unless they are split, and of each kind beside them."""
        for source in self._sources:
            name = self.place.name(source.name, None)
            if source.part is None and name not in self.journal.pieces:
                data = self._packed(self._form.head(source.fields))
                piece = self.journal.pieces[name] = Piece(name, source.name, bytes=len(data))
                with create(self.place.partial(piece)) as file:
                    file.write(data)

    def _publish(self) -> dict[str, Any]:
        """Give every file its name, then write the manifest. Done again, it is the same."""
        journal = self.journal
        for piece in journal.pieces.values():
            partial, final = self.place.partial(piece), self.place.final(piece)
            piece.sha256 = publish(partial, final) if partial.exists() else digest(final)
        manifest = self._manifest()
        replace(self.place.manifest, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        self.place.journal.unlink()
        return manifest

    def _manifest(self) -> dict[str, Any]:
        journal, request = self.journal, self._request.public()
        files = sorted(journal.pieces.values(), key=lambda piece: piece.name)
        return {
            "version": VERSION,
            "what": "telemetry of Weir",
            **request,
            "fields": {source.name: list(source.fields) for source in self._sources},
            "begun_at": journal.begun_at,
            "finished_at": self._clock.now().isoformat(),
            "stored_before": journal.position,
            "lacks_newest": journal.lacks_newest,
            "rows": journal.rows,
            "bytes": journal.bytes,
            "files": [msgspec.to_builtins(piece) for piece in files],
        }

    def _cut(self, piece: Piece, *, is_written: bool) -> None:
        """Leave of a file what the journal speaks of."""
        partial = self.place.partial(piece)
        size = partial.stat().st_size if partial.exists() else -1
        if size < piece.bytes:
            if is_written and size < 0 and checksum_of(self.place.final(piece)).exists():
                return
            raise ExportOther(f"{partial} is not as it was left", hint="--force begins anew.")
        os.truncate(partial, piece.bytes)


def _size(count: int) -> str:
    million = 1_000_000
    return f"{count / million:g} MB" if count >= million else f"{count} bytes"
