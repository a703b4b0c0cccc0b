"""Which fragments, and which of their fields: the dynamic part of every statement that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, LiteralString, get_args
from uuid import UUID

from psycopg import sql

from dsl.records import MAX_TITLE, checked_name, checked_tags, checked_text, json_text
from telemetry.clock import to_unix_us
from telemetry.ids import least_id_at

Order = Literal["newest", "oldest", "updated"]
Field = Literal[
    "id",
    "type",
    "title",
    "content",
    "excerpt",
    "state",
    "tags",
    "metadata",
    "space",
    "source",
    "created_at",
    "updated_at",
]

#: What can be selected, and how. `excerpt` is the first 500 characters of the content.
_COLUMNS: Mapping[Field, LiteralString] = {
    "id": "f.id",
    "type": "f.type",
    "title": "f.title",
    "content": "f.content",
    "excerpt": "left(f.content, 500) as excerpt",
    "state": "f.state",
    "tags": "f.tags",
    "metadata": "f.metadata",
    "space": "s.name as space",
    "source": "f.source",
    "created_at": "f.created_at",
    "updated_at": "f.updated_at",
}
#: Every field of a fragment, which is every column but the excerpt.
FIELDS: tuple[Field, ...] = tuple(name for name in get_args(Field) if name != "excerpt")

_ORDERS: Mapping[Order, LiteralString] = {
    "newest": "f.id desc",
    "oldest": "f.id",
    "updated": "f.updated_at desc, f.id desc",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which fragments; what is none or empty does not filter.

    Attributes:
        space: Name of a space.
        tags: They have all of these.
        without_tags: They have none of these.
        text: In the title or content, upper and lower case alike.
        state: Contained in their state.
        since: Created at or after.
        until: Created before.
        before: Only ids below this one: where the page before ended.
    """

    space: str | None = None
    type: str | None = None
    tags: Sequence[str] = ()
    without_tags: Sequence[str] = ()
    text: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None


def select_one(*, lock: bool) -> sql.Composed:
    """The statement for the fragment `id`, its row locked until the transaction ends if so asked."""
    return _from(FIELDS) + sql.SQL(" where f.id = %(id)s") + sql.SQL(" for update of f" if lock else "")


def select(names: Sequence[Field], which: Filter, order: Order, limit: int) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement and its parameters: only the conditions that filter, so that each can use its index."""
    parameters: dict[str, Any] = {"limit": limit}
    conditions: list[sql.SQL] = []
    for condition, values in conditions_of(which):
        conditions.append(sql.SQL(condition))
        parameters |= values
    where = sql.SQL(" where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL("")
    tail = sql.SQL(" order by {} limit %(limit)s").format(sql.SQL(_ORDERS[order]))
    return _from(names) + where + tail, parameters


def _from(names: Sequence[Field]) -> sql.Composed:
    columns = sql.SQL(", ").join(sql.SQL(_COLUMNS[name]) for name in names)
    return sql.SQL("select {} from fragments f join spaces s on s.id = f.space_id").format(columns)


def conditions_of(which: Filter) -> Iterator[tuple[LiteralString, dict[str, Any]]]:
    """What filters, on the aliases `f` of fragments and `s` of spaces, each condition with its parameters.

    Raises:
        RecordInvalid: A value cannot be one of its field.
    """
    if which.space is not None:
        yield (
            "f.space_id = (select id from spaces where name = %(space)s)",
            {"space": checked_name("name of a space", which.space, "space")},
        )
    if which.type is not None:
        yield "f.type = %(type)s", {"type": checked_name("type", which.type)}
    if which.tags:
        yield "f.tags @> %(tags)s::text[]", {"tags": checked_tags(which.tags)}
    if which.without_tags:
        yield "not f.tags && %(without_tags)s::text[]", {"without_tags": checked_tags(which.without_tags)}
    if which.text:
        yield "(f.title ilike %(text)s or f.content ilike %(text)s)", {"text": _containing(which.text)}
    if which.state:
        yield "f.state @> %(state)s::jsonb", {"state": json_text("state", which.state)}
    if which.since is not None:
        since = {"since": which.since, "since_id": least_id_at(_since_1970_us(which.since))}
        yield "f.id >= %(since_id)s and f.created_at >= %(since)s", since
    if which.until is not None:
        until = {"until": which.until, "until_id": least_id_at(_since_1970_us(which.until) + 1000)}
        yield "f.id < %(until_id)s and f.created_at < %(until)s", until
    if which.before is not None:
        yield "f.id < %(before)s", {"before": which.before}


def _since_1970_us(instant: datetime) -> int:
    """Ids know no earlier time."""
    return max(0, to_unix_us(instant))


def _containing(text: str) -> str:
    r"""An `ilike` pattern for what holds exactly this text; `\` is its escape character."""
    escaped = checked_text("text", text, MAX_TITLE).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
