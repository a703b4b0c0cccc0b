"""Keeps the schedules that command files declare in line with the files."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from dsl.errors import CommandInvalid, UnknownCommand
from dsl.library import Library
from workers.schedules import Schedules

log = structlog.get_logger(__name__)

#: Codes of faults after which a command that is not there may only be out of sight.
_OUT_OF_SIGHT = frozenset({"folder.unreadable", "file.unreadable"})


class Declarer:
    """Looks at the files, and at the table only when they have changed.

    Args:
        library: The files.
        schedules: The table.
    """

    def __init__(self, library: Library, schedules: Schedules) -> None:
        self._library = library
        self._schedules = schedules
        self._seen: tuple[object, ...] | None = None

    def run_once(self) -> int:
        """Bring the table in line; how many schedules changed.

        Raises:
            StoreUnavailable: Postgres did not answer; it is tried again.
        """
        commands = self._library.all()
        seen = (*commands, *self._library.faults())
        if self._seen is not None and _same(self._seen, seen):
            return 0
        by_slug = {command.slug: command for command in commands}
        gone = frozenset(slug for slug in self._schedules.declared_slugs() - by_slug.keys() if self._is_gone(slug))
        changed = self._schedules.declare(by_slug, gone)
        self._seen = seen
        if changed:
            log.info("schedules_declared", changed=changed)
        return changed

    def _is_gone(self, slug: str) -> bool:
        """Whether no file has it; one that is faulty, or cannot be read now, has not."""
        if any(fault.code in _OUT_OF_SIGHT for invalid in self._library.faults() for fault in invalid.faults):
            return False
        try:
            self._library.get(slug)
        except UnknownCommand:
            return True
        except CommandInvalid:
            return False
        return False


def _same(before: Sequence[object], now: Sequence[object]) -> bool:
    """Whether the same files were read: a library gives the same objects as long as they do not change."""
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))
