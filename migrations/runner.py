"""Applies the numbered SQL of this folder, once each, in order, by one process at a time.

A migration is `NNNN_verb_noun.sql`. It runs in a transaction of its own, with short timeouts, so that it fails rather
than stops the world. One whose first line is `-- weir:notx` holds a single statement that refuses to run in a
transaction (`create index concurrently`) and must be repeatable. Migrations go forward only; an applied file is never
edited: its SHA-256 is kept in `schema_migrations` and compared.

Not behind a pooler in transaction mode: the lock that keeps concurrent starts apart belongs to the session.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, LiteralString

import psycopg

from telemetry.connections import connect
from telemetry.errors import SchemaOutOfDate, TelemetryError

FOLDER = Path(__file__).parent

#: Key of the session advisory lock: "weir" in ASCII.
_LOCK_KEY = 0x77656972
#: How long a start waits for another one's migrations before it gives up.
_LOCK_PATIENCE = "120s"
#: A migration that cannot have its locks, or is not done, within these fails and changes nothing.
_LOCK_TIMEOUT = "4s"
_STATEMENT_TIMEOUT = "5s"

_FILE = re.compile(r"(?P<number>\d{4})_[a-z0-9]+(_[a-z0-9]+)+\.sql")
_NO_TRANSACTION = "-- weir:notx"

_CREATE_TABLE = """
create table if not exists schema_migrations (
    name text primary key,
    checksum bytea not null,
    applied_at timestamptz not null default now(),
    constraint schema_migrations_checksum_size check (octet_length(checksum) = 32)
)"""


class MigrationFailed(TelemetryError):
    """A migration did not apply; the database is as it was after the one before."""

    code = "store.migration_failed"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file.

    Attributes:
        name: The file's name without `.sql`.
        sql: Its text, line ends normalised. Has no parameters, so it may be several statements.
        checksum: SHA-256 of `sql`, 32 bytes.
    """

    name: str
    sql: LiteralString
    checksum: bytes

    @property
    def transactional(self) -> bool:
        return not self.sql.startswith(_NO_TRANSACTION)


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How one migration stands in one database.

    Attributes:
        name: As `Migration.name`.
        state: `applied`, `pending` (a file, not in the database), `changed` (its file was edited after it was
            applied), `unknown` (in the database, no file: a newer program was here).
        applied_at: None while pending.
    """

    name: str
    state: Literal["applied", "pending", "changed", "unknown"]
    applied_at: datetime | None


def load_migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The folder's migrations in order of number.

    Raises:
        ValueError: A name is not `NNNN_verb_noun.sql`, or two have one number.
    """
    found: dict[str, Migration] = {}
    for path in sorted(folder.glob("[0-9]*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name}: a migration is named NNNN_verb_noun.sql")
        if match["number"] in found:
            raise ValueError(f"{path.name}: number {match['number']} is taken by {found[match['number']].name}")
        sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        found[match["number"]] = Migration(path.stem, sql, hashlib.sha256(sql.encode()).digest())
    return tuple(found.values())


def migrate(target: str | psycopg.Connection, *, folder: Path = FOLDER) -> list[str]:
    """Apply every pending migration. Safe to call from several processes at once: one does it, the others wait.

    Args:
        target: URL of a database, or an idle connection to it.
        folder: Where the migrations are.

    Returns:
        Names of those applied now, in order; empty when there was nothing to do.

    Raises:
        SchemaOutOfDate: The database is newer than this program, or an applied migration was edited. Nothing is done.
        MigrationFailed: One did not apply. Those before it stay applied.
        StoreUnavailable: Postgres did not answer.
    """
    migrations = load_migrations(folder)
    with _session(target) as connection, _lock(connection):
        connection.execute(_CREATE_TABLE)
        standing = _compare(connection, migrations)
        _refuse_strangers(standing)
        pending = {item.name for item in standing if item.state == "pending"}
        todo = [migration for migration in migrations if migration.name in pending]
        for migration in todo:
            _apply(connection, migration)
        return [migration.name for migration in todo]


def status(target: str | psycopg.Connection, *, folder: Path = FOLDER) -> list[MigrationStatus]:
    """How every migration stands, in order of name; reads only.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with _session(target) as connection:
        return _compare(connection, load_migrations(folder))


def require_current(target: str | psycopg.Connection, *, folder: Path = FOLDER) -> None:
    """Refuse to go on unless the database's schema is exactly this program's.

    Raises:
        SchemaOutOfDate: Something is pending, changed or unknown; says which.
        StoreUnavailable: Postgres did not answer.
    """
    standing = status(target, folder=folder)
    _refuse_strangers(standing)
    pending = [item.name for item in standing if item.state == "pending"]
    if pending:
        raise SchemaOutOfDate(
            f"the database lacks {len(pending)} migration(s): {', '.join(pending)}",
            hint="weir migrate",
            pending=pending,
        )


def _refuse_strangers(standing: list[MigrationStatus]) -> None:
    unknown = [item.name for item in standing if item.state == "unknown"]
    if unknown:
        raise SchemaOutOfDate(
            f"the database is newer than this program; it has {', '.join(unknown)}",
            hint="Update Weir to the version that made these migrations, or restore a backup.",
            unknown=unknown,
        )
    changed = [item.name for item in standing if item.state == "changed"]
    if changed:
        raise SchemaOutOfDate(
            f"{', '.join(changed)}: edited after being applied to this database",
            hint="Restore the file as it was, and put the change into a new migration.",
            changed=changed,
        )


def _compare(connection: psycopg.Connection, migrations: tuple[Migration, ...]) -> list[MigrationStatus]:
    applied: dict[str, tuple[bytes, datetime]] = {}
    with connection.transaction():
        exists = connection.execute("select to_regclass('schema_migrations') is not null").fetchone()
        if exists == (True,):
            rows = connection.execute("select name, checksum, applied_at from schema_migrations order by name")
            applied = {name: (checksum, at) for name, checksum, at in rows}
    standing = []
    for migration in migrations:
        checksum, at = applied.pop(migration.name, (None, None))
        if checksum is None:
            standing.append(MigrationStatus(migration.name, "pending", None))
        else:
            state: Literal["applied", "changed"] = "applied" if checksum == migration.checksum else "changed"
            standing.append(MigrationStatus(migration.name, state, at))
    standing += [MigrationStatus(name, "unknown", at) for name, (_, at) in applied.items()]
    return sorted(standing, key=lambda item: item.name)


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    record = "insert into schema_migrations (name, checksum) values (%s, %s)"
    try:
        if migration.transactional:
            with connection.transaction():
                _limit(connection, lock=_LOCK_TIMEOUT, statement=_STATEMENT_TIMEOUT, local=True)
                connection.execute(migration.sql)
                connection.execute(record, (migration.name, migration.checksum))
        else:
            # Builds that lock little may take their time.
            _limit(connection, lock=_LOCK_TIMEOUT, statement="0", local=False)
            connection.execute(migration.sql)
            connection.execute(record, (migration.name, migration.checksum))
    except psycopg.Error as error:
        raise MigrationFailed(
            f"{migration.name}: {error}",
            hint="Nothing of this migration was kept. Stop what holds locks on its tables, or mend the file.",
            migration=migration.name,
        ) from error


def _limit(connection: psycopg.Connection, *, lock: str, statement: str, local: bool) -> None:
    connection.execute(
        "select set_config('lock_timeout', %s, %s), set_config('statement_timeout', %s, %s)",
        (lock, local, statement, local),
    )


@contextmanager
def _session(target: str | psycopg.Connection) -> Iterator[psycopg.Connection]:
    """An autocommit connection: our own to a URL, or the caller's, given back as it was."""
    if isinstance(target, str):
        with connect(target, name="weir migrate", autocommit=True) as connection:
            yield connection
        return
    before = target.autocommit
    target.set_autocommit(True)
    try:
        yield target
    finally:
        if not target.broken:
            target.set_autocommit(before)


@contextmanager
def _lock(connection: psycopg.Connection) -> Iterator[None]:
    _limit(connection, lock="0", statement=_LOCK_PATIENCE, local=False)
    try:
        connection.execute("select pg_advisory_lock(%s)", (_LOCK_KEY,))
    except psycopg.errors.QueryCanceled as error:
        raise MigrationFailed(
            f"another process held the migration lock for {_LOCK_PATIENCE}", hint="weir migrate --status"
        ) from error
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK_KEY,))
            connection.execute("reset lock_timeout")
            connection.execute("reset statement_timeout")
