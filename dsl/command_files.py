"""Files that hold commands: which of a folder's, what is in them, and the slugs they claim."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from errno import EINVAL
from pathlib import Path
from typing import TypeAlias

from dsl.command import Command
from dsl.errors import CommandInvalid, Fault
from dsl.nodes import position_in

_SLUG_LINE = re.compile(r"^(?:\{[ \t]*)?[\"']?slug[\"']?:[ \t]*[\"']?([a-z0-9._-]{1,100})", re.MULTILINE)

#: What changes when a file does: modification time (ns), size, inode, kind and permissions.
Stamp: TypeAlias = tuple[int, int, int, int]


def command_files(folder: Path) -> Iterator[tuple[str, Stamp | None]]:
    """The command files of a folder in the order of their names; no stamp for one that cannot be looked at.

    Raises:
        OSError: The folder is there, and cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if _is_command_file(entry.name)), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        try:
            status = entry.stat()
        except OSError:
            yield entry.path, None
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield entry.path, (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)


def files_at(path: Path) -> list[str]:
    """The command files of a folder; the path itself when it leads to anything else, or to nothing.

    Raises:
        OSError: It is a folder that cannot be read.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        is_folder = False
    return [name for name, _ in command_files(path)] if is_folder else [str(path)]


def _is_command_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) and not name.startswith((".", "#"))


def content_of(path: str, limit: int) -> bytes:
    """A file's bytes, one more than allowed at most. Reading a pipe or a device would never end.

    Raises:
        OSError: It is no regular file, or cannot be read.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "it is not a regular file", path)
        return file.read(limit + 1)


def _open_at_once(path: str, flags: int) -> int:
    """A pipe would be waited for until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def is_text(path: str) -> bool:
    """Whether a path is UTF-8: one that is not can be opened, and not be told of."""
    return not any("\udc80" <= character <= "\udcff" for character in path)


def shown(path: str) -> str:
    """A path as it can be told of."""
    return os.fsencode(path).decode("utf-8", "replace")


def misnamed(path: str) -> CommandInvalid:
    """What is said of a file whose name is not UTF-8."""
    fault = Fault("file.misnamed", "the name of the file is not UTF-8", expected="another name")
    return CommandInvalid(shown(path), (fault,))


def unreadable(path: str, what: str, error: OSError) -> CommandInvalid:
    """What is said of a `file` or `folder` that cannot be read."""
    fault = Fault(f"{what}.unreadable", f"the {what} cannot be read: {error.strerror or type(error).__name__}")
    return CommandInvalid(path, (fault,))


def slug_claimed(text: bytes) -> str | None:
    """The slug that a text says it has, however faulty it is."""
    match = _SLUG_LINE.search(text.decode(errors="replace"))
    return None if match is None else match[1]


def duplicate_slug(path: str, command: Command, owner: str) -> CommandInvalid:
    """What is said of a file whose slug is taken by another."""
    match = _SLUG_LINE.search(command.source)
    line = 1 if match is None else position_in(command.source, match.start()).line
    message = f"the slug {command.slug} is already that of {owner}"
    fault = Fault("library.duplicate_slug", message, "slug", line, 1, command.slug, "a slug of its own")
    return CommandInvalid(path, (fault,))
