"""How far an export is, kept beside its files: enough to go on with the very same bytes after any end.

Data is on disk before the journal speaks of it. What files have beyond that is cut off when the export goes on.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from telemetry.errors import ExportExists, ExportInUse, ExportOther, ExportUnwritable
from telemetry.export.request import ExportRequest
from telemetry.whole_files import replace

#: Of journals and manifests; another one is not read.
VERSION: Final = 1
PARTIAL: Final = ".partial"


class Piece(msgspec.Struct):
    """A file of an export.

    Attributes:
        name: Its final one.
        source: What its records are.
        rows: Records that it has.
        bytes: That these take, compressed if it is.
        first: Id of the first one.
        last: Id of the last one.
        sha256: Of the file; once it is whole.
    """

    name: str
    source: str
    rows: int = 0
    bytes: int = 0
    first: str | None = None
    last: str | None = None
    sha256: str | None = None


class Journal(msgspec.Struct):
    """How far an export is.

    Attributes:
        request: What is exported, as `ExportRequest.public` has it.
        asked: A hash of what was typed or sent; who goes on has to ask for the same.
        position: What was stored before it is exported, and nothing else.
        lacks_newest: Whether something open kept the position from being that of the beginning.
        begun_at: ISO 8601.
        totals: Records to be written, by their source.
        done: Records written, by their source.
        pieces: By their names, in the order in which they were begun.
        source: Number of the source that is being written.
        after: Id of the last record of it.
        is_written: Whether all of it is in files, which then only need their names.
        version: Of this format.
    """

    request: dict[str, Any]
    asked: str
    position: int
    lacks_newest: bool
    begun_at: str
    totals: dict[str, int]
    done: dict[str, int] = {}
    pieces: dict[str, Piece] = {}
    source: int = 0
    after: str | None = None
    is_written: bool = False
    version: int = VERSION

    @property
    def rows(self) -> int:
        """Records written."""
        return sum(self.done.values())

    @property
    def total(self) -> int:
        """Records to be written."""
        return sum(self.totals.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(piece.bytes for piece in self.pieces.values())


class Place:
    """Where the files of an export are.

    Args:
        target: The file, or what the names of several are made of.
        request: What they are.
    """

    def __init__(self, target: Path, request: ExportRequest) -> None:
        self.target = target
        self._suffix = request.suffix
        self._is_split = request.split_by is not None

    @property
    def folder(self) -> Path:
        """Of all of them."""
        return self.target.parent

    @property
    def journal(self) -> Path:
        """How far it is."""
        return self._beside(".journal")

    @property
    def manifest(self) -> Path:
        """What it is, once it is whole."""
        return self._beside(".manifest.json")

    def name(self, source: str, part: str | None) -> str:
        """Of a file: no word can lead out of the folder."""
        word = part if source == "events" else source
        if word is None:
            return self.target.name
        return f"{self.target.name.removesuffix(self._suffix)}.{quote(word, safe='')}{self._suffix}"

    def final(self, piece: Piece) -> Path:
        """A whole file."""
        return self.folder / piece.name

    def partial(self, piece: Piece) -> Path:
        """A file that is being written."""
        return self.folder / f"{piece.name}{PARTIAL}"

    def require_free(self) -> None:
        """See that nothing of another export is there.

        Raises:
            ExportExists: Something is; of a split one, files that are still to be named are not looked for.
        """
        if self.journal.exists():
            raise ExportExists(
                f"{self.target} was begun before and did not end",
                hint="--resume goes on with it, --force begins anew.",
            )
        there = next((path for path in (self.target, self.manifest) if path.exists()), None)
        if there is not None:
            raise ExportExists(f"{there} is there already", hint="Take another name, or --force to replace it.")

    def forget(self) -> None:
        """Delete what an export that did not end has left."""
        if self.journal.exists():
            for piece in self._begun():
                self.partial(piece).unlink(missing_ok=True)
            self.journal.unlink()

    def read(self, asked: str) -> Journal:
        """The journal of an export that did not end.

        Raises:
            ExportOther: There is none, it cannot be read, or it is that of another request.
        """
        try:
            journal = msgspec.json.decode(self.journal.read_bytes(), type=Journal)
        except FileNotFoundError as error:
            raise ExportOther(
                f"there is nothing to resume: no {self.journal}", hint="Leave --resume out to begin."
            ) from error
        except (msgspec.MsgspecError, OSError) as error:
            raise ExportOther(f"{self.journal} cannot be read", hint="--force begins anew.") from error
        if journal.version != VERSION or journal.asked != asked:
            raise ExportOther(
                f"what was begun at {self.target} is another export than this one",
                hint="Resume it with the options that it was begun with, or begin anew with --force.",
            )
        return journal

    def write(self, journal: Journal) -> None:
        """Keep how far it is. Raises OSError."""
        replace(self.journal, msgspec.json.encode(journal))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other process from writing here.

        Raises:
            ExportInUse: One does.
            ExportUnwritable: The folder cannot be written to.
        """
        lock = self._beside(".lock")
        descriptor = _claim(lock)
        while descriptor is None:
            descriptor = _claim(lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(descriptor)

    def _begun(self) -> list[Piece]:
        try:
            return list(msgspec.json.decode(self.journal.read_bytes(), type=Journal).pieces.values())
        except msgspec.MsgspecError:
            return []

    def _beside(self, suffix: str) -> Path:
        return self.folder / f"{self.target.name}{suffix}"


def _claim(lock: Path) -> int | None:
    """The lock file, open and locked; none if whoever held it has just deleted it."""
    try:
        with writing(lock.parent):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except ExportUnwritable as error:
        if lock.parent.is_dir():
            raise
        raise ExportUnwritable(f"there is no folder {lock.parent}", hint="Make it, or name another.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ExportInUse(f"another process is writing here: {lock} is held", hint="Wait for it.") from error
    if lock.exists() and lock.stat().st_ino == os.fstat(descriptor).st_ino:
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What goes wrong with files, as our own error.

    Raises:
        ExportUnwritable: It did.
    """
    try:
        yield
    except OSError as error:
        raise ExportUnwritable(
            f"{error.filename or folder} cannot be written: {error.strerror or error}",
            hint="Once that is mended, what was written before can be resumed.",
        ) from error
