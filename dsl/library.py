"""The command files there are: read when they change, asked for by slug.

Folders are looked through, not into. What counts is `*.yaml` and `*.yml`, without dot files and editors' back-ups. A
file of a user may take the slug of a pack and stands in its place; any other slug that is taken twice is a fault of the
later file. A file that became faulty is never run as it was before: whoever asks for it is told what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from dsl.check import load
from dsl.checking.steps import StepType
from dsl.command import Command
from dsl.command_files import (
    Stamp,
    command_files,
    content_of,
    duplicate_slug,
    is_text,
    misnamed,
    shown,
    slug_claimed,
    unreadable,
)
from dsl.document import read
from dsl.errors import CommandInvalid, Fault, UnknownCommand
from dsl.faults import nearest
from dsl.settings import DslSettings
from telemetry.clock import Clock, SystemClock

#: The folder of the built-in commands.
PACKS = Path(__file__).parent / "packs"

#: Stored definitions kept compiled.
_STORED = 256

#: Two writes within one tick of the file system's clock leave the same time behind; so young a file is read again.
_SETTLED_US = 20_000


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was last read.

    Attributes:
        stamp: None if it must be read again.
        command: What it holds.
        invalid: Or what is wrong with it.
        slugs: What it is asked for by.
    """

    stamp: Stamp | None
    command: Command | None = None
    invalid: CommandInvalid | None = None
    slugs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Everything, as of one look. Replaced whole, so that readers need no lock."""

    files: Mapping[str, _File] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)
    invalid: Mapping[str, CommandInvalid] = field(default_factory=dict)
    faults: tuple[CommandInvalid, ...] = ()


class Library:
    """Commands by slug. Safe to share between threads.

    Args:
        folders: Looked through in this order; one that is not there is empty. `PACKS` may be any of them.
        registry: Step types by name.
        settings: Limits of a file.
        clock: To tell a file that was written just now.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        registry: Mapping[str, StepType],
        settings: DslSettings,
        clock: Clock | None = None,
    ) -> None:
        self._folders = tuple((folder, folder.absolute() == PACKS.absolute()) for folder in folders)
        self._registry = registry
        self._settings = settings
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._shelf = _Shelf()
        self._stored = lru_cache(maxsize=_STORED)(self._compile)

    def all(self) -> tuple[Command, ...]:
        """Every command, by slug."""
        self.refresh()
        commands = self._shelf.commands
        return tuple(commands[slug] for slug in sorted(commands))

    def get(self, slug: str) -> Command:
        """A command as its file is now.

        Raises:
            CommandInvalid: Its file is faulty.
            UnknownCommand: There is none.
        """
        self.refresh()
        shelf = self._shelf
        invalid = shelf.invalid.get(slug)
        if invalid is not None:
            raise CommandInvalid(invalid.source, invalid.faults)  # a kept one would gather tracebacks
        command = shelf.commands.get(slug)
        if command is None:
            meant = nearest(slug, sorted({*shelf.commands, *shelf.invalid}))
            hint = f"Did you mean {meant}?" if meant else "`weir commands list` shows what there is."
            raise UnknownCommand(f"there is no command {slug[:100]}", hint=hint, slug=slug[:100], nearest=meant)
        return command

    def faults(self) -> tuple[CommandInvalid, ...]:
        """The files that are faulty, in the order they are looked through."""
        self.refresh()
        return self._shelf.faults

    def from_source(self, source: str, definition_hash: bytes) -> Command:
        """A stored definition; the last few hundred are kept compiled.

        Raises:
            CommandInvalid: It does not load any more (a step type is gone), or is not what the hash stands for.
        """
        return self._stored(source, definition_hash)

    def document_of(self, source: str) -> dict[str, Any]:
        """A stored definition as plain values, also where it does not load any more; empty if it cannot be read."""
        root = read(source, self._settings).root
        value = None if root is None else root.value()
        return value if isinstance(value, dict) else {}

    def refresh(self) -> None:
        """Look through the folders; read what is new or changed. About 0.2 ms for a hundred files."""
        with self._lock:
            known = self._shelf.files
            files: dict[str, _File] = {}
            packs: set[str] = set()
            for folder, is_pack in self._folders:
                try:
                    listing = list(command_files(folder))
                except OSError as error:
                    files[str(folder)] = _unreadable(str(folder), "folder", error)
                    continue
                for path, stamp in listing:
                    if not is_text(path):
                        files[shown(path)] = _File(None, None, misnamed(path))
                        continue
                    before = known.get(path)
                    if before is None or before.stamp is None or before.stamp != stamp:
                        before = self._read(path, stamp, before, "pack" if is_pack else path)
                    files.setdefault(path, before)
                    if is_pack:
                        packs.add(path)
            if files != known:
                self._shelf = _arranged(files, packs)

    def _read(self, path: str, stamp: Stamp | None, before: _File | None, origin: str) -> _File:
        text = b""
        try:
            text = content_of(path, self._settings.max_file_bytes)
            command = load(text, self._registry, self._settings, origin=path)
        except CommandInvalid as invalid:
            return _File(self._settled(stamp), None, invalid, _claimed(text, before))
        except OSError as error:
            return replace(_unreadable(path, "file", error), slugs=_claimed(text, before))
        return _File(self._settled(stamp), replace(command, origin=origin), None, frozenset((command.slug,)))

    def _settled(self, stamp: Stamp | None) -> Stamp | None:
        if stamp is None or 0 <= self._clock.unix_us() - stamp[0] // 1000 < _SETTLED_US:
            return None
        return stamp

    def _compile(self, source: str, definition_hash: bytes) -> Command:
        # Whoever was given it to run serves its lane, whatever is declared here.
        command = load(source, self._registry, replace(self._settings, lanes=()), origin="stored")
        if command.definition_hash != definition_hash:
            fault = Fault("definition.wrong_hash", "the stored definition is not the one its hash stands for")
            raise CommandInvalid("stored", (fault,))
        return command


def _unreadable(path: str, what: str, error: OSError) -> _File:
    return _File(None, None, unreadable(path, what, error))


def _claimed(text: bytes, before: _File | None) -> frozenset[str]:
    """The slugs a faulty file is asked for by: what it says now, and what it said before."""
    slug = slug_claimed(text)
    said = frozenset() if slug is None else frozenset((slug,))
    return said if before is None else said | before.slugs


def _arranged(files: Mapping[str, _File], packs: AbstractSet[str]) -> _Shelf:
    """Who has which slug: the first file that claims it, but any file comes before a pack."""
    owners: dict[str, str] = {}
    commands: dict[str, Command] = {}
    invalid: dict[str, CommandInvalid] = {}
    faults: list[CommandInvalid] = []
    for path in sorted(files, key=lambda path: path not in packs):
        file = files[path]
        faults += [file.invalid] if file.invalid is not None else []
        for slug in file.slugs:
            owner = owners.get(slug)
            if owner is not None and (owner not in packs or path in packs):
                faults += [duplicate_slug(path, file.command, owner)] if file.command is not None else []
                continue
            owners[slug] = path
            if file.invalid is not None:
                invalid[slug] = file.invalid
                commands.pop(slug, None)
            elif file.command is not None:
                replaces = owner is not None
                commands[slug] = (
                    replace(file.command, origin=f"{path} (instead of the pack)") if replaces else file.command
                )
                invalid.pop(slug, None)
    for path, file in files.items():
        # One that says no slug at all is asked for by its name.
        stem = Path(path).stem
        if file.invalid is not None and stem not in owners:
            invalid.setdefault(stem, file.invalid)
    return _Shelf(files, commands, invalid, tuple(faults))
