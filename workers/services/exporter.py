"""Writes exports in the background: one slice of time a round, so that other maintenance gets its turn.

Killed anywhere, the next round after the lease goes on with what the journal beside the files says; a lock on the
folder and the lease together keep two processes from one export. Where its folder is not that of the process which
began, the export is begun anew. What kills its process again and again is given up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import Connection

from telemetry.clock import Clock
from telemetry.errors import (
    ExportError,
    ExportInUse,
    ExportOther,
    FilterInvalid,
    StoreTooSlow,
)
from telemetry.export.journal import Place
from telemetry.export.request import request_of
from telemetry.export.writing import Export, Limit, Progress
from workers.export_sources import sources_of
from workers.exports import Claimed, Exports, asked_of

log = structlog.get_logger(__name__)

#: How long a round works at one export.
SLICE: Final = timedelta(seconds=10)
#: How long one page may take, or counting: other maintenance waits for it.
PAGE_TIMEOUT: Final = timedelta(minutes=1)
#: How often a process may end without having come further.
_MAX_CLAIMS: Final = 5
_BEAT_US: Final = 1_000_000
#: What the names of all files of an export begin with.
_NAME: Final = "weir-telemetry"


class Exporter:
    """Works at what is asked for.

    Args:
        exports: The rows.
        connecting: Opens a connection that reads.
        folder: Where files go.
        clock: Times a slice.
    """

    def __init__(self, exports: Exports, connecting: Callable[[], Connection[Any]], folder: Path, clock: Clock) -> None:
        self._exports, self._connecting, self._folder, self._clock = exports, connecting, folder, clock

    def run_once(self, work_for: timedelta = SLICE) -> bool:
        """Delete what is to go, then work at the oldest for a while; whether there may be more to do.

        Raises:
            StoreUnavailable: Postgres did not answer; what was written is gone on with.
            OSError: The folder of exports could not be looked into.
        """
        self._tidy()
        claimed = self._exports.claim()
        if claimed is None:
            return False
        try:
            manifest = self._work(claimed, work_for)
        except ExportInUse:
            log.warning("export_in_use", export_id=str(claimed.id))
            self._exports.let_go(claimed)
            return False
        except (ExportError, FilterInvalid, StoreTooSlow) as error:
            self._give_up(claimed, error.code, error.detail)
            return True
        if manifest is None:
            self._exports.let_go(claimed)
        elif self._exports.finish(claimed, manifest):
            log.info("export_finished", export_id=str(claimed.id), rows=manifest["rows"], bytes=manifest["bytes"])
        return True

    def _work(self, claimed: Claimed, work_for: timedelta) -> dict[str, Any] | None:
        """A slice of it; the manifest, once it is whole."""
        if claimed.claims > _MAX_CLAIMS:
            raise ExportError(f"the process that wrote it ended {_MAX_CLAIMS} times before it came further")
        request = request_of(claimed.request)
        folder = self._folder / str(claimed.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = folder / f"{_NAME}{request.suffix}"
        limit = Limit(claimed.max_bytes, is_of_all=True)
        export = Export(request, sources_of(request), target, asked=asked_of(claimed), limit=limit, clock=self._clock)
        with export.place.claimed():
            if (whole := _whole(export.place)) is not None:
                return whole
            with closing(self._connecting()) as connection:
                self._open(export, connection)
                pace = _Pace(self._exports, claimed, self._clock, work_for)
                return export.run(connection, pace.go_on, pace.tell)

    def _open(self, export: Export, connection: Connection[Any]) -> None:
        """Go on with it, or begin it, where there is nothing to go on with."""
        try:
            export.resume()
        except ExportOther:
            export.begin(connection, replaces=True)

    def _give_up(self, claimed: Claimed, code: str, detail: str) -> None:
        log.warning("export_failed", export_id=str(claimed.id), reason=code)
        # What cannot be deleted now is deleted with its row.
        shutil.rmtree(self._folder / str(claimed.id), ignore_errors=True)
        self._exports.fail(claimed, code, detail)

    def _tidy(self) -> None:
        """Delete the files of what is to go, and what belongs to no row. What cannot be deleted stops nobody."""
        for export_id in self._exports.going():
            if self._is_deleted(export_id):
                self._exports.forget(export_id)
        if not self._folder.is_dir():
            return
        there = {found for path in self._folder.iterdir() if (found := _id_of(path.name)) is not None}
        for unknown in there - self._exports.known(list(there)):
            if _is_ours(self._folder / str(unknown)):
                self._is_deleted(unknown)

    def _is_deleted(self, export_id: UUID) -> bool:
        """Whether its files are gone; if not, the next round tries again."""
        folder = self._folder / str(export_id)
        try:
            if folder.is_dir():
                shutil.rmtree(folder)
        except OSError as error:
            log.warning("export_not_deleted", export_id=str(export_id), reason=type(error).__name__)
            return False
        return True


class _Pace:
    """Says to an export how long it may go on, and to its row how far it is."""

    def __init__(self, exports: Exports, claimed: Claimed, clock: Clock, work_for: timedelta) -> None:
        self._exports, self._claimed, self._clock = exports, claimed, clock
        now_us = clock.monotonic_us()
        self._until_us = now_us + work_for // timedelta(microseconds=1)
        self._beaten_us = now_us - _BEAT_US
        self._is_ours = True

    def go_on(self) -> bool:
        """Whether it may."""
        return self._is_ours and self._clock.monotonic_us() < self._until_us

    def tell(self, progress: Progress) -> None:
        """Note how far it is, once a second."""
        now_us = self._clock.monotonic_us()
        if now_us - self._beaten_us >= _BEAT_US:
            self._beaten_us = now_us
            self._is_ours = self._exports.beat(self._claimed, progress)


def _whole(place: Place) -> dict[str, Any] | None:
    """The manifest of an export whose process ended before it could say that it is whole."""
    if place.journal.exists() or not place.manifest.exists():
        return None
    found: dict[str, Any] = json.loads(place.manifest.read_bytes())
    return found


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds what exports are made of, and nothing else: somebody may keep other things beside them."""
    return folder.is_dir() and all(path.name.startswith(_NAME) for path in folder.iterdir())


def _id_of(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
