"""Command files as they are named on the command line: by slug, by path, by folder, or `-` for standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.target import commands_folder
from api.settings import Settings
from workers.home import find_home

if TYPE_CHECKING:
    from dsl.validation import Given

#: What stands for standard input on the command line, and what its faults name.
_STDIN, _STDIN_NAME = "-", "<stdin>"


#: Characters of a name that is not there that are said again.
_SHOWN = 100


def own_folders(settings: Settings) -> tuple[Path, Path]:
    """Where command files of one's own are; either may be missing."""
    return commands_folder(settings), find_home(settings.servers).commands


def sources_of(what: Sequence[str], folders: Sequence[Path], settings: Settings) -> list[Path | Given]:
    """What is meant by each of `what`; slugs are looked for in `folders`.

    Raises:
        click.BadParameter: Something that is named is not there.
    """
    from dsl.validation import Given

    slugs = [] if all(map(_is_path, what)) else list(slugs_in(folders, settings))
    sources: list[Path | Given] = []
    missing: list[str] = []
    for name in what:
        if name == _STDIN:
            sources.append(Given(_STDIN_NAME, _standard_input(settings.dsl.max_file_bytes + 1)))
            continue
        found = [] if _is_path(name) else _of_slug(name, slugs)
        sources += found or [Path(name)]
        if not found:
            missing += _nothing_at(name) if _is_path(name) or os.path.lexists(name) else [_unknown(name, slugs)]
    if missing:
        raise click.BadParameter("; ".join(missing), param_hint="SLUG or PATH")
    return sources


def _nothing_at(name: str) -> list[str]:
    """What is said of a path that leads to nothing that could be checked."""
    from dsl.command_files import files_at, shown

    try:
        if not files_at(Path(name)):
            return [f"there are no command files in {shown(name)}"]
    except OSError:
        return []  # it is there, and what is wrong with it is told as a fault
    return [] if os.path.lexists(name) else [f"there is no file {shown(name)[:_SHOWN]}"]


def _standard_input(limit: int) -> bytes:
    if sys.stdin is None:
        raise click.BadParameter("there is no standard input", param_hint="SLUG or PATH")
    return sys.stdin.buffer.read(limit)


def _is_path(name: str) -> bool:
    """Whether a name is that of a file or folder, or of standard input, whatever slugs there are."""
    return name == _STDIN or os.sep in name or name.endswith((".yaml", ".yml", "."))


def slugs_in(sources: Iterable[Path | Given], settings: Settings) -> Iterator[tuple[str, Path]]:
    """The slugs that files have or claim, each with its file."""
    from dsl.command_files import content_of, files_at, slug_claimed
    from dsl.validation import Given

    for source in sources:
        if isinstance(source, Given):
            yield slug_claimed(source.text) or source.name, Path(source.name)
            continue
        try:
            names = files_at(source)
        except OSError:
            continue  # told of when the folder itself is looked at
        for name in names:
            try:
                slug = slug_claimed(content_of(name, settings.dsl.max_file_bytes))
            except OSError:
                slug = None
            yield slug or Path(name).stem, Path(name)


def _of_slug(slug: str, slugs: Iterable[tuple[str, Path]]) -> list[Path | Given]:
    """The files of a slug; a pack only when no other has it."""
    from dsl.library import PACKS

    found = [path for claimed, path in slugs if claimed == slug]
    return [*([path for path in found if path.parent != PACKS] or found)]


def _unknown(name: str, slugs: Iterable[tuple[str, Path]]) -> str:
    from dsl.command_files import shown
    from dsl.faults import nearest

    meant = nearest(name, sorted({slug for slug, _ in slugs}))
    return f"there is neither a command nor a file {shown(name)[:_SHOWN]!r}" + (
        f" - did you mean {meant}?" if meant else ""
    )
