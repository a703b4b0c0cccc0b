"""Many command files at once: everything that is wrong with each, and slugs that are there twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dsl.check import load
from dsl.checking.steps import StepType
from dsl.command import Command
from dsl.command_files import command_files, content_of, duplicate_slug, slug_claimed, unreadable
from dsl.errors import CommandInvalid, Fault
from dsl.lint import warnings
from dsl.settings import DslSettings


@dataclass(frozen=True, slots=True)
class Report:
    """A file that was looked at.

    Attributes:
        path: As it was named, or as its folder was.
        slug: Of its command, or what it claims to be; none when it says nothing.
        faults: Why it does not load, in the order of the text.
        warnings: What it holds in vain.
        in_place_of: The pack whose slug it took.
    """

    path: str
    slug: str | None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    in_place_of: str | None = None


def validate(
    paths: Iterable[Path], registry: Mapping[str, StepType], settings: DslSettings, *, packs: Path | None = None
) -> Sequence[Report]:
    """Look at files, and at the command files of folders: in the order given, those of a folder by name.

    Args:
        paths: Files and folders; what is named twice is looked at once.
        registry: Step types by name.
        settings: Limits.
        packs: The folder whose slugs files elsewhere may take.

    Raises:
        FileNotFoundError: One is not there.
    """
    reports: list[Report] = []
    owners: dict[str, str] = {}
    seen: set[str] = set()
    for path in paths:
        for report, command in _look(path, registry, settings, seen):
            owner = None if command is None else owners.get(command.slug)
            if command is None or owner is None:
                reports.append(report)
            elif packs is not None and _is_in(owner, packs) and not _is_in(report.path, packs):
                reports.append(replace(report, in_place_of=owner))
            else:
                reports.append(replace(report, faults=duplicate_slug(report.path, command, owner).faults))
                continue
            if command is not None:
                owners[command.slug] = report.path
    return reports


def _look(
    path: Path, registry: Mapping[str, StepType], settings: DslSettings, seen: set[str]
) -> Iterator[tuple[Report, Command | None]]:
    try:
        names = [name for name, _ in command_files(path)] if path.is_dir() else [str(path)]
    except OSError as error:
        yield Report(str(path), None, unreadable(str(path), "folder", error).faults), None
        return
    for name in names:
        if os.path.realpath(name) not in seen:
            seen.add(os.path.realpath(name))
            yield _read(name, registry, settings)


def _read(name: str, registry: Mapping[str, StepType], settings: DslSettings) -> tuple[Report, Command | None]:
    try:
        text = content_of(name, settings.max_file_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        return Report(name, None, unreadable(name, "file", error).faults), None
    return validate_text(text, registry, settings, origin=name)


def validate_text(
    text: bytes, registry: Mapping[str, StepType], settings: DslSettings, *, origin: str
) -> tuple[Report, Command | None]:
    """Look at the text of one file; the command, if it is sound."""
    try:
        command = load(text, registry, settings, origin=origin)
    except CommandInvalid as invalid:
        return Report(origin, slug_claimed(text), invalid.faults), None
    return Report(origin, command.slug, warnings=warnings(command, settings)), command


def _is_in(path: str, folder: Path) -> bool:
    return Path(path).absolute().parent == folder.absolute()
