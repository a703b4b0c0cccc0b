"""Fragments, the built-in records: type, title, content, state, tags, metadata, in a space.

Functions over a psycopg connection; whoever calls them owns the transaction. Ids are minted from `created_at`, which
never changes, so the newest id is the newest fragment and a time filter is also a range of ids.
The rows and all that changes them stand together: each keeps the same rules of what a field may hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import class_row, dict_row, scalar_row

from dsl.errors import FragmentNotFound, RecordInvalid
from dsl.fragment_selection import FIELDS, Field, Filter, Order, select, select_one
from dsl.notes import Note
from dsl.records import (
    MAX_CONTENT,
    MAX_TITLE,
    checked_name,
    checked_tags,
    checked_text,
    is_same,
    json_text,
    merge_patch,
)
from telemetry.clock import to_unix_us
from telemetry.ids import new_id, unix_ms_of
from telemetry.sql import queries

SQL = queries(__file__)

#: Notes of one import statement, and characters of their contents together.
_CHUNK_NOTES, _CHUNK_CHARACTERS = 500, 4_194_304
#: Of UUIDs that hold their time.
_ID_VERSION = 7
#: Fragments of one delete statement, which returns them with their contents.
_CHUNK_DELETED = 50


@dataclass(frozen=True, slots=True)
class Space:
    """A row of `spaces`."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new fragment is made of."""

    type: str
    title: str = ""
    content: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stored fragment.

    Attributes:
        id: UUIDv7, minted from `created_at`.
        space: Name of its space.
        source: Path of the note it was imported from.
        created_at: Aware; never changes.
        updated_at: Aware; not before `created_at`.
    """

    id: UUID
    type: str
    title: str
    content: str
    state: dict[str, Any]
    tags: list[str]
    metadata: dict[str, Any]
    space: str
    source: str | None
    created_at: datetime
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Every field as a JSON value; times as RFC 3339 in UTC."""
        return json_row(self.columns())

    def columns(self) -> dict[str, Any]:
        """Every field by its name."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def body(self) -> dict[str, Any]:
        """What people wrote, as JSON: what the hashes of a mutation are made of."""
        return {name: getattr(self, name) for name in ("type", "title", "content", "state", "tags", "metadata")}


#: Fields of a fragment, in order.
_COLUMNS = tuple(field.name for field in fields(Fragment))


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of a fragment; none leaves a field alone.

    Attributes:
        state: Merged into it as a JSON merge patch (RFC 7396): null removes a key.
        metadata: Likewise.
        tags: Replace what it has; `add_tags` and `remove_tags` follow, in this order.
    """

    type: str | None = None
    title: str | None = None
    content: str | None = None
    state: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    tags: Sequence[str] | None = None
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """A fragment before and after an update, and the names of the fields that differ (empty: nothing was written)."""

    before: Fragment
    after: Fragment
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, in the order it did it."""

    created_ids: tuple[UUID, ...]
    updated_ids: tuple[UUID, ...]
    unchanged: int

    @property
    def created(self) -> int:
        """How many notes were new."""
        return len(self.created_ids)

    @property
    def updated(self) -> int:
        """How many notes had changed since they were imported."""
        return len(self.updated_ids)


def space_id(connection: Connection[Any], name: str) -> UUID:
    """Id of the space of that name, which is made if there is none.

    Raises:
        RecordInvalid: The name has not the form of `dsl.records.NAME`.
    """
    cursor = connection.cursor(row_factory=scalar_row)
    parameters = {"name": checked_name("name of a space", name, "space")}
    # 1. Nearly always it is there. 2. Else make it. 3. Else another transaction made it since step 1 and has committed:
    # the insert waited for it, and a new statement sees its row.
    for statement in ("find_space", "insert_space", "find_space"):
        found: UUID | None = cursor.execute(SQL[statement], parameters).fetchone()
        if found is not None:
            return found
    message = f"space {name} was deleted while it was looked for"
    raise RuntimeError(message)


def insert(connection: Connection[Any], draft: Draft, space: Space, now: datetime) -> Fragment:
    """Store a new fragment.

    Raises:
        RecordInvalid: A field is too long, or holds what Postgres cannot (a NUL character, a lone surrogate).
    """
    fragment, row = addition(draft, space, now)
    connection.execute(SQL["insert_fragment"], row)
    return fragment


def addition(draft: Draft, space: Space, now: datetime) -> tuple[Fragment, dict[str, Any]]:
    """A new fragment, and the parameters of the statement `insert_fragment` that stores it.

    Raises:
        RecordInvalid: As `insert`.
    """
    fragment = Fragment(
        id=_new_id(now),
        type=checked_name("type", draft.type),
        title=checked_text("title", draft.title, MAX_TITLE),
        content=checked_text("content", draft.content, MAX_CONTENT),
        state=dict(draft.state),
        tags=checked_tags(draft.tags),
        metadata=dict(draft.metadata),
        space=space.name,
        source=draft.source,
        created_at=now,
        updated_at=now,
    )
    row = fragment.columns() | {
        "space_id": space.id,
        "state": json_text("state", fragment.state),
        "metadata": json_text("metadata", fragment.metadata),
    }
    return fragment, row


def get(connection: Connection[Any], fragment_id: UUID) -> Fragment:
    """One fragment.

    Raises:
        FragmentNotFound: There is none with this id.
    """
    return _one(connection, fragment_id, lock=False)


def update(connection: Connection[Any], fragment_id: UUID, change: Change, now: datetime) -> Changed:
    """Change a fragment under its row lock, which the transaction keeps; write only what differs.

    Raises:
        FragmentNotFound: There is none with this id.
        RecordInvalid: As `insert`.
    """
    before = _one(connection, fragment_id, lock=True)
    wanted = _apply(change, before)
    old = before.body()
    fields = tuple(name for name, value in wanted.body().items() if not is_same(value, old[name]))
    if not fields:
        return Changed(before, before, ())
    after = replace(wanted, updated_at=max(now, before.updated_at))
    row: dict[str, Any] = {
        "type": after.type,
        "title": after.title,
        "content": after.content,
        "state": json_text("state", after.state),
        "metadata": json_text("metadata", after.metadata),
        "tags": after.tags,
    }
    kept = {name: None for name in row if name not in fields}
    connection.execute(SQL["update_fragment"], row | kept | {"id": fragment_id, "updated_at": after.updated_at})
    return Changed(before, after, fields)


def lock(connection: Connection[Any], which: Filter, *, limit: int) -> list[UUID]:
    """Ids of the oldest fragments that fit, their rows locked until the transaction ends."""
    statement, parameters = select(["id"], which, "oldest", limit)
    cursor = connection.cursor(row_factory=scalar_row)
    return cursor.execute(statement + sql.SQL(" for update of f"), parameters).fetchall()


def delete(connection: Connection[Any], ids: Sequence[UUID]) -> Iterator[Fragment]:
    """Remove fragments; gives each as it was. An id that is not there is passed over."""
    cursor = connection.cursor(row_factory=class_row(Fragment))
    for start in range(0, len(ids), _CHUNK_DELETED):
        chunk = ids[start : start + _CHUNK_DELETED]
        yield from cursor.execute(SQL["delete_fragments"], {"ids": chunk}).fetchall()


def query(
    connection: Connection[Any],
    which: Filter,
    *,
    order: Order = "newest",
    limit: int = 100,
    fields: Sequence[Field] = FIELDS,
) -> list[dict[str, Any]]:
    """The chosen fields of fragments as JSON values, the id always among them."""
    names: list[Field] = ["id", *(name for name in fields if name != "id")]
    cursor = connection.cursor(row_factory=dict_row)
    return [json_row(row) for row in cursor.execute(*select(names, which, order, limit))]


def page(connection: Connection[Any], which: Filter, *, limit: int) -> list[Fragment]:
    """A page of fragments, newest first; the next one begins with `before` set to the last id of this one."""
    cursor = connection.cursor(row_factory=class_row(Fragment))
    return cursor.execute(*select(FIELDS, which, "newest", limit)).fetchall()


def import_notes(connection: Connection[Any], notes: Iterable[Note], space_id: UUID, now: datetime) -> Imported:
    """Store notes, or bring what an earlier import stored of them up to date; twice the same changes nothing.

    A note is known by its `source` within the space. What its file says wins (type, title, content, metadata keys); its
    tags are added to those the fragment has; state, and other tags and keys, stay as commands left them. A note that
    was exported from a fragment is that fragment's, and brings its id and state to where it is new. On a connection
    that commits by itself each chunk is a transaction, so an import that was cut short can be repeated.

    Args:
        connection: Where to.
        notes: Read as they are needed, 500 at a time.
        space_id: Row of `spaces`.
        now: When; the creation time of a note that gives none.

    Raises:
        RecordInvalid: As `insert`; names the note by its source.
    """
    created: list[UUID] = []
    updated: list[UUID] = []
    seen = 0
    for chunk in _chunks(notes):
        rows = _note_rows(chunk, now, _adopt(connection, chunk, space_id))
        seen += len(rows)
        parameters = {"notes": json.dumps(rows), "space_id": space_id, "now": now}
        cursor = connection.cursor(row_factory=dict_row)
        for row in cursor.execute(SQL["import_notes"], parameters):
            (created if row["created"] else updated).append(row["id"])
    return Imported(tuple(created), tuple(updated), seen - len(created) - len(updated))


def _adopt(connection: Connection[Any], notes: Sequence[Note], space_id: UUID) -> frozenset[UUID]:
    """Give exported notes to the fragments they come from, where those have no source; ids that are taken."""
    # Of notes with one source the last counts, as it does when they are stored.
    by_source = {note.source: note.id for note in notes}
    exported = [{"id": str(note_id), "source": source} for source, note_id in by_source.items() if note_id is not None]
    if not exported:
        return frozenset()
    connection.execute(SQL["lock_exported_notes"])
    connection.execute(SQL["adopt_notes"], {"notes": json.dumps(exported), "space_id": space_id})
    cursor = connection.cursor(row_factory=scalar_row)
    ids = [note_id for note_id in by_source.values() if note_id is not None]
    return frozenset(cursor.execute(SQL["taken_ids"], {"ids": ids}).fetchall())


def _one(connection: Connection[Any], fragment_id: UUID, *, lock: bool) -> Fragment:
    cursor = connection.cursor(row_factory=class_row(Fragment))
    fragment = cursor.execute(select_one(lock=lock), {"id": fragment_id}).fetchone()
    if fragment is None:
        raise FragmentNotFound(f"no fragment {fragment_id}", fragment_id=str(fragment_id))
    return fragment


def _apply(change: Change, before: Fragment) -> Fragment:
    """The fragment as it should be; `updated_at` as it was."""
    tags = [*(before.tags if change.tags is None else change.tags), *change.add_tags]
    removed = {tag.strip() for tag in change.remove_tags}
    return replace(
        before,
        type=before.type if change.type is None else checked_name("type", change.type),
        title=before.title if change.title is None else checked_text("title", change.title, MAX_TITLE),
        content=before.content if change.content is None else checked_text("content", change.content, MAX_CONTENT),
        state=before.state if change.state is None else merge_patch(before.state, change.state),
        metadata=before.metadata if change.metadata is None else merge_patch(before.metadata, change.metadata),
        tags=checked_tags(tag for tag in tags if tag.strip() not in removed),
    )


def _note_rows(notes: Iterable[Note], now: datetime, taken: AbstractSet[UUID]) -> list[dict[str, Any]]:
    """A row for each source. Notes of one millisecond keep their order: their ids, else random, are sorted."""
    distinct = {note.source: note for note in notes}.values()
    dated = [(note, note.created or min(now, note.updated or now)) for note in distinct]
    dated.sort(key=lambda each: to_unix_us(each[1]) // 1000)
    ids = sorted(_new_id(created_at) for _, created_at in dated)
    rows: list[dict[str, Any]] = []
    used = set(taken)
    for (note, created_at), new in zip(dated, ids, strict=True):
        own = note.id if note.id is not None and note.id not in used and _is_of(note.id, created_at) else new
        used.add(own)
        rows.append(_note_row(note, own, created_at))
    return rows


def _is_of(fragment_id: UUID, created_at: datetime) -> bool:
    """Whether an id was minted from this time: filters by time rely on it."""
    return fragment_id.version == _ID_VERSION and unix_ms_of(fragment_id.bytes) == to_unix_us(created_at) // 1000


def _note_row(note: Note, fragment_id: UUID, created_at: datetime) -> dict[str, Any]:
    try:
        json_text("metadata", note.metadata)
        json_text("state", note.state)
        return {
            "id": str(fragment_id),
            "type": checked_name("type", note.type),
            "title": checked_text("title", note.title, MAX_TITLE),
            "content": checked_text("content", note.content, MAX_CONTENT),
            "state": note.state,
            "metadata": note.metadata,
            "tags": checked_tags(note.tags),
            "source": checked_text("source", note.source, MAX_TITLE),
            "created_at": created_at.isoformat(),
            "updated_at": max(created_at, note.updated or created_at).isoformat(),
        }
    except RecordInvalid as error:
        raise RecordInvalid(f"note {note.source!r}: {error.detail}", hint=error.hint) from error


def _chunks(notes: Iterable[Note]) -> Iterator[list[Note]]:
    chunk: list[Note] = []
    characters = 0
    for note in notes:
        chunk.append(note)
        characters += len(note.content)
        if len(chunk) == _CHUNK_NOTES or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _new_id(created_at: datetime) -> UUID:
    """An id minted from the creation time; ids know no time before 1970."""
    return new_id(max(0, to_unix_us(created_at)))


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON values; times as RFC 3339 in UTC."""
    return {name: _json_value(value) for name, value in row.items()}


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value
