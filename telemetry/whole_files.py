"""Files that are whole under their final name or not there: written beside it, brought to disk, summed up, renamed.

`NAME.sha256` beside a file is what `sha256sum --check` reads. It is there before the file has its name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO


def create(path: Path) -> IO[bytes]:
    """A new file, for its owner only: rows may hold what people wrote.

    What has that name goes: written into, it would keep its mode and its owner, and a link would lead elsewhere.

    Raises:
        OSError: It cannot be made.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def sync(file: IO[bytes]) -> None:
    """Bring what was written to disk.

    Raises:
        OSError: It is not there.
    """
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk.

    Raises:
        OSError: They are not there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_of(path: Path) -> Path:
    """Where the checksum of a file is."""
    return path.with_name(f"{path.name}.sha256")


def replace(path: Path, data: bytes) -> None:
    """Write a small file whole, in place of what has its name.

    Killed anywhere, the one or the other is there.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    beside = path.with_name(f"{path.name}.new")
    with create(beside) as file:
        file.write(data)
        sync(file)
    beside.replace(path)
    sync_folder(path.parent)


def publish(partial: Path, final: Path, found: str | None = None) -> str:
    """Give a file that is whole and on disk its name, the checksum first; returns the checksum.

    Args:
        partial: In the same folder.
        final: What has that name is replaced.
        found: The checksum, if it is known already.

    Raises:
        OSError: It still has its former name.
    """
    found = found or digest(partial)
    with create(checksum_of(final)) as file:
        file.write(f"{found}  {final.name}\n".encode())
        sync(file)
    partial.rename(final)
    sync_folder(final.parent)
    return found
