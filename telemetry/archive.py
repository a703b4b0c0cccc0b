"""Rows written to files before they are deleted: JSON lines, compressed, each file with its checksum.

A file is written under a temporary name, brought to disk, and renamed once it is whole; what has its final name is
whole. `NAME.jsonl.gz.sha256` beside it is what `sha256sum --check` reads.

Rows that are deleted in slices go to one file a run. Each slice is a compressed stream of its own, on disk before the
slice is deleted (gzip readers take several in a row for one). Killed in between, the temporary file has all that was
deleted; `Archive` finds it when it is next opened there, cuts off what is not whole, and gives it its name.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Self

from psycopg import Connection, sql

from telemetry.errors import ArchiveFailed
from telemetry.whole_files import create, digest, publish, sync

_PARTIAL: Final = ".part"
_CHUNK_BYTES: Final = 1 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS
#: Fast, for cleaning waits for it.
_LEVEL: Final = 3


class Archive:
    """A folder of files of deleted rows; a context manager that closes what is open.

    Args:
        folder: Made if it is not there.

    Raises:
        ArchiveFailed: It cannot be made, or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, IO[bytes]] = {}
        with _failing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in sorted(folder.glob(f"*.jsonl.gz{_PARTIAL}")):
                self._salvage(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self, name: str, connection: Connection[Any], rows: sql.Composable, values: dict[str, Any] | None = None
    ) -> Path:
        """Write a file whole: a query of one column, JSON as text. Returns where it is; memory does not grow with it.

        What has that name stays: if it says the same, nothing is written, otherwise the new one has a number.

        Raises:
            ArchiveFailed: It cannot be written.
            psycopg.Error: The rows could not be read.
        """
        partial = self._partial(name)
        with _failing(partial), create(partial) as file:
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as lines, connection.cursor() as cursor:
                copying = sql.SQL("copy ({}) to stdout").format(rows)
                with cursor.copy(copying, values) as copy:
                    copy.set_types(["text"])
                    for (row,) in copy.rows():
                        lines.write(row.encode() + b"\n")
            sync(file)
        with _failing(partial):
            return self._name(partial)

    def append(self, name: str, rows: Sequence[str]) -> None:
        """Add rows, JSON as text, to a file that `close` ends. They are on disk when this returns.

        Raises:
            ArchiveFailed: It cannot be written. Its end may be torn, so it keeps its temporary name until the next
                archive that is opened there ends it.
        """
        partial = self._partial(name)
        with _failing(partial):
            file = self._open.get(name)
            if file is None:
                file = self._open[name] = create(partial)
            try:
                file.write(gzip.compress("".join(f"{row}\n" for row in rows).encode(), _LEVEL, mtime=0))
                sync(file)
            except OSError:
                del self._open[name]
                with suppress(OSError):  # it tries to write what it holds once more
                    file.close()
                raise

    def close(self) -> None:
        """End the files that were appended to, and give them their names.

        Raises:
            ArchiveFailed: It cannot be done; the temporary files stay, and the next that is opened here ends them.
        """
        while self._open:
            name, file = self._open.popitem()
            with _failing(self._partial(name)):
                file.close()
                self._name(self._partial(name))

    def _partial(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl.gz{_PARTIAL}"

    def _name(self, partial: Path) -> Path:
        """Give a whole file its name, the checksum first: a file without one was never whole."""
        found = digest(partial)
        stem = partial.name.removesuffix(f".jsonl.gz{_PARTIAL}")
        number = 1
        while True:
            final = self._folder / (f"{stem}.jsonl.gz" if number == 1 else f"{stem}-{number}.jsonl.gz")
            if not final.exists():
                break
            if digest(final) == found:
                partial.unlink()
                return final
            number += 1
        publish(partial, final, found)
        return final

    def _salvage(self, partial: Path) -> None:
        """End what a killed process has left: as much of it as is whole."""
        whole = _whole_bytes(partial)
        if whole == 0:
            partial.unlink()
            return
        with partial.open("r+b") as file:
            file.truncate(whole)
            sync(file)
        self._name(partial)


def _whole_bytes(path: Path) -> int:
    """How much of a file is whole compressed streams."""
    whole = 0
    with path.open("rb") as file:
        stream, position = zlib.decompressobj(_GZIP), 0
        while chunk := file.read(_CHUNK_BYTES):
            position += len(chunk)
            try:
                while chunk:
                    stream.decompress(chunk)
                    chunk = stream.unused_data
                    if stream.eof:
                        whole = position - len(chunk)
                        stream = zlib.decompressobj(_GZIP)
            except zlib.error:
                break
    return whole


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveFailed(
            f"{path} cannot be written: {error.strerror or error}", hint="Nothing was deleted that is not archived."
        ) from error
