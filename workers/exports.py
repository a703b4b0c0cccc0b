"""Exports that are written in the background: rows that say what is asked for, and how far it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from telemetry.clock import Clock
from telemetry.errors import ExportNotFound, ExportsFull, ExportUnwritable
from telemetry.export.request import ExportRequest
from telemetry.export.writing import Progress
from telemetry.ids import new_id
from telemetry.sql import queries
from workers.executions import reaching_store
from workers.idempotency import hash_of, hash_of_key, key_reused
from workers.settings import ExportSettings, ServerSettings

SQL = queries(__file__)

#: Key of the advisory lock: "weirexpo" in ASCII.
_LOCK_KEY: Final = 0x776569726578706F
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export; columns as in the schema."""

    id: UUID
    created_at: datetime
    state: str
    request: Mapping[str, Any]
    max_bytes: int
    rows: int
    total: int | None
    bytes: int
    manifest: Mapping[str, Any] | None
    error_code: str | None
    error_detail: str | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An export that this process works at.

    Attributes:
        id: Of the export.
        lease: By which it is this process's.
        request: As `ExportRequest.public` has it.
        max_bytes: Of all its files together.
        claims: How often it was begun since it came further.
    """

    id: UUID
    lease: UUID
    request: dict[str, Any]
    max_bytes: int
    claims: int


def export_folder(servers: ServerSettings, settings: ExportSettings) -> Path:
    """Where exports are: a folder each, named by its id.

    Raises:
        ExportUnwritable: No setting says where.
    """
    if settings.dir is not None:
        return settings.dir
    if servers.home is None:
        raise ExportUnwritable("no folder for exports is known", hint="Set WEIR_EXPORT_DIR or WEIR_HOME.")
    return servers.home / "exports"


class Exports:
    """The rows of exports.

    Args:
        pool: In autocommit mode.
        clock: Ids are minted by it.
        settings: The bounds.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, settings: ExportSettings) -> None:
        self._pool, self._clock, self._settings = pool, clock, settings

    def create(self, request: ExportRequest, max_bytes: int | None, key: str | None, said: object) -> tuple[UUID, bool]:
        """Ask for an export. Its id, and whether it is an earlier one of the same key.

        Args:
            request: What is to be exported.
            max_bytes: Of all files together; as much as the settings allow one unless given.
            key: Of the caller's choice.
            said: What came under the key, as JSON.

        Raises:
            IdempotencyConflict: The key was used for another request.
            ExportsFull: As many are kept as may be, or as many bytes.
            StoreUnavailable: Postgres did not answer.
        """
        largest = self._settings.max_bytes_each
        wanted = largest if max_bytes is None else min(max_bytes, largest)
        key_hash = None if key is None else hash_of_key(key)
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            connection.execute(SQL["lock_creating"], {"key": _LOCK_KEY})
            found = key_hash and connection.execute(SQL["of_key"], {"key_hash": key_hash}).fetchone()
            if found:
                if bytes(found[1]) != hash_of(said):
                    raise key_reused()
                return found[0], True
            count, size = connection.execute(SQL["kept"]).fetchone() or (0, 0)
            self._require_room(count, size + wanted)
            export_id = new_id(self._clock.unix_us())
            values = {"id": export_id, "request": json.dumps(request.public()), "max_bytes": wanted}
            hashes = {"key_hash": key_hash, "body_hash": None if key is None else hash_of(said)}
            connection.execute(SQL["create"], {**values, **hashes})
        return export_id, False

    def get(self, export_id: UUID) -> ExportJob:
        """One of them.

        Raises:
            ExportNotFound: There is none of this id, or no more.
            StoreUnavailable: Postgres did not answer.
        """
        found = self._select("get", {"id": export_id})
        if not found:
            raise _unknown(export_id)
        return found[0]

    def page(self, *, limit: int, before: UUID | None) -> Sequence[ExportJob]:
        """The newest, or those older than one.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        return self._select("page", {"rows": limit, "before": before})

    def remove(self, export_id: UUID) -> None:
        """Give it up; its files are deleted soon.

        Raises:
            ExportNotFound: There is none of this id, or no more.
            StoreUnavailable: Postgres did not answer.
        """
        if not self._is_done("remove", {"id": export_id}):
            raise _unknown(export_id)

    def is_wanted(self) -> bool:
        """Whether there is something to write, or to delete.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            found = connection.execute(SQL["is_wanted"], {"keep_s": self._settings.keep / _SECOND}).fetchone()
        return bool(found and found[0])

    def claim(self) -> Claimed | None:
        """The oldest that nobody works at, if there is one.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        lease = new_id(self._clock.unix_us())
        with reaching_store(), self._pool.connection() as connection:
            values = {"lease": lease, "lease_s": self._settings.lease / _SECOND}
            found = connection.execute(SQL["claim"], values).fetchone()
        return None if found is None else Claimed(found[0], lease, *found[1:])

    def beat(self, claimed: Claimed, progress: Progress) -> bool:
        """Say how far it is; whether it is still this process's.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        far = {"rows": progress.rows, "total": progress.total, "bytes": progress.bytes}
        return self._is_done("beat", {**_held(claimed), "lease_s": self._settings.lease / _SECOND, **far})

    def let_go(self, claimed: Claimed) -> None:
        """Leave it for the next round. Raises as `beat`."""
        self._is_done("let_go", _held(claimed))

    def finish(self, claimed: Claimed, manifest: Mapping[str, Any]) -> bool:
        """It is whole; false if it was removed or is another process's by now. Raises as `beat`."""
        sizes = {"rows": manifest["rows"], "bytes": manifest["bytes"]}
        return self._is_done("finish", {**_held(claimed), "manifest": json.dumps(manifest), **sizes})

    def fail(self, claimed: Claimed, code: str, detail: str) -> None:
        """It cannot be written. Raises as `beat`."""
        self._is_done("fail", {**_held(claimed), "code": code, "detail": detail})

    def going(self) -> Sequence[UUID]:
        """Those whose files are to be deleted. Raises as `beat`."""
        return self._ids("going", {"keep_s": self._settings.keep / _SECOND})

    def forget(self, export_id: UUID) -> None:
        """Its files are gone. Raises as `beat`."""
        self._is_done("forget", {"id": export_id})

    def known(self, ids: Sequence[UUID]) -> set[UUID]:
        """Which of these there are. Raises as `beat`."""
        return set(self._ids("known", {"ids": list(ids)}))

    def _require_room(self, count: int, size: int) -> None:
        most, most_bytes = self._settings.max_jobs, self._settings.max_bytes
        hint = "Delete one that you have, or wait until its time is over (WEIR_EXPORT_KEEP)."
        if count >= most:
            raise ExportsFull(f"{count} exports are kept, and no more may be", hint=hint)
        if size > most_bytes:
            raise ExportsFull(f"exports together may have {most_bytes} bytes, with this one {size}", hint=hint)

    def _select(self, name: str, values: Mapping[str, Any]) -> list[ExportJob]:
        with reaching_store(), self._pool.connection() as connection:
            return connection.cursor(row_factory=class_row(ExportJob)).execute(SQL[name], values).fetchall()

    def _is_done(self, name: str, values: Mapping[str, Any]) -> bool:
        with reaching_store(), self._pool.connection() as connection:
            return connection.execute(SQL[name], values).rowcount == 1

    def _ids(self, name: str, values: Mapping[str, Any]) -> list[UUID]:
        with reaching_store(), self._pool.connection() as connection:
            return [found for (found,) in connection.execute(SQL[name], values)]


def asked_of(claimed: Claimed) -> str:
    """What a journal of this export has to say that it was asked."""
    return hashlib.sha256(json.dumps(claimed.request, sort_keys=True).encode()).hexdigest()


def _held(claimed: Claimed) -> dict[str, Any]:
    return {"id": claimed.id, "lease": claimed.lease}


def _unknown(export_id: UUID) -> ExportNotFound:
    return ExportNotFound(f"there is no export {export_id}", hint="One that is done is kept for WEIR_EXPORT_KEEP.")
