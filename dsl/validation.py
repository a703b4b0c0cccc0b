"""Many command files, one after the other: everything that is wrong with each, and slugs that are there twice."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from dsl.check import check
from dsl.checking.steps import StepType
from dsl.command import Command
from dsl.command_files import (
    content_of,
    duplicate_slug,
    files_at,
    is_text,
    misnamed,
    shown,
    slug_claimed,
    unreadable,
)
from dsl.document import read
from dsl.errors import CommandInvalid, Fault
from dsl.lint import unknown_commands, warnings
from dsl.settings import DslSettings


@dataclass(frozen=True, slots=True)
class Given:
    """A file that is not on disk."""

    name: str
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """A file that was looked at.

    Attributes:
        path: As it was named, or as its folder was.
        slug: Of its command, or what it claims to be; none when it says nothing.
        text: What is in it, as far as it was read.
        faults: Why it does not load, in the order of the text.
        warnings: What it holds in vain.
        in_place_of: The pack whose slug it took.
    """

    path: str
    slug: str | None
    text: bytes = field(repr=False)
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    in_place_of: Path | None = None


def validate(  # noqa: PLR0913 - what is known of the installation
    sources: Iterable[Path | Given],
    registry: Mapping[str, StepType],
    settings: DslSettings,
    *,
    packs: Path,
    slugs: Collection[str] | None = None,
    now: datetime | None = None,
) -> Iterator[Report]:
    """Look at files, and at the command files of folders: in the order given, those of a folder by name.

    One file is in memory at a time.

    Args:
        sources: Files and folders; what is named twice is looked at once.
        registry: Step types by name.
        settings: Limits.
        packs: The folder whose slugs files elsewhere may take.
        slugs: Of all commands there are, to warn of those that are run and are not; by default nothing is said of them.
        now: To warn of schedules whose one time has passed; by default nothing is said of them.
    """
    owners: dict[str, str] = {}
    for given in _each(sources, settings.max_file_bytes):
        report, command = _look(given, registry, settings, slugs, now)
        if command is None:
            yield report
            continue
        owner = owners.get(command.slug)
        is_pack = _is_in(report.path, packs)
        if owner is None or (_is_in(owner, packs) and not is_pack):
            owners[command.slug] = report.path
            pack = packs / f"{command.slug}.yaml"
            yield replace(report, in_place_of=pack) if not is_pack and pack.is_file() else report
        else:
            yield replace(report, faults=duplicate_slug(report.path, command, owner).faults, warnings=())


def _each(sources: Iterable[Path | Given], limit: int) -> Iterator[Given | Report]:
    """Every file, read; a report of those that cannot be."""
    seen: set[str] = set()
    for source in sources:
        if isinstance(source, Given):
            yield source
            continue
        try:
            names = files_at(source)
        except OSError as error:
            yield _refused(str(source), unreadable(str(source), "folder", error))
            continue
        for name in names:
            if os.path.realpath(name) not in seen:
                seen.add(os.path.realpath(name))
                yield _content(name, limit)


def _content(name: str, limit: int) -> Given | Report:
    if not is_text(name):
        return _refused(shown(name), misnamed(name))
    try:
        return Given(name, content_of(name, limit))
    except OSError as error:
        return _refused(name, unreadable(name, "file", error))


def _refused(name: str, invalid: CommandInvalid) -> Report:
    return Report(name, None, b"", invalid.faults)


def _look(
    given: Given | Report,
    registry: Mapping[str, StepType],
    settings: DslSettings,
    slugs: Collection[str] | None,
    now: datetime | None,
) -> tuple[Report, Command | None]:
    if isinstance(given, Report):
        return given, None
    document = read(given.text, settings)
    try:
        command = check(document, registry, settings, origin=given.name)
    except CommandInvalid as invalid:
        slug = slug_claimed(given.text)
        root = document.root
        beside = () if slugs is None or root is None else unknown_commands(root, {*slugs, slug or ""})
        return Report(given.name, slug, given.text, invalid.faults, beside), None
    in_vain = warnings(command, document, settings, slugs, now)
    return Report(given.name, command.slug, given.text, warnings=in_vain), command


def _is_in(path: str, folder: Path) -> bool:
    return Path(path).absolute().parent == folder.absolute()
