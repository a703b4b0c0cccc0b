"""Where live figures begin: what is stored of the minutes that are kept, and which events that was, in one view."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

from psycopg import Connection

from telemetry.clock import from_unix_us
from telemetry.ids import least_id_at
from telemetry.live.buffer import histogram_without
from telemetry.live.seen import Seen
from telemetry.live.store import OTHER, By, MetricsStore, Series
from telemetry.rollups.metrics import REAL, REQUESTS, Tally
from telemetry.rollups.parts import MEMBER, Dimension
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer
from telemetry.sql import queries

SQL = queries(__file__)

_MINUTE_US: Final = 60_000_000
#: Minutes of series that are read at a time, about: in Python's dictionaries they take many times what a store has for
#: them.
_AT_ONCE: Final = 120
#: Whose events are in no minute that is kept was heard of before that, and longer.
_MARGIN: Final = timedelta(hours=1)
_COMPONENT_OF: Final[Mapping[str, str]] = {kind: name for name, kinds in REQUESTS.items() for kind in kinds}
_DIMENSION: Final[Mapping[By, Dimension]] = {"command": "operation", "user": "user", "space": "space"}
_COMMON: Final = ("event_type", "outcome", "error_category", "measure")

#: What is told of one series in one minute, by measure.
_Key: TypeAlias = tuple[str, str, int, str]


def read_seen(connection: Connection[Any], first_minute: int) -> Seen:
    """The numbers of all events that are stored, as far as they may tell of a minute from the first on.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    seen = Seen()
    since = from_unix_us(first_minute * _MINUTE_US) - _MARGIN
    for epoch, ranges in connection.execute(SQL["seen"], {"since": since}):
        for piece in ranges:
            seen.take(epoch.bytes, piece.lower, piece.upper)
    return seen


def fill(
    connection: Connection[Any], store: MetricsStore, first_minute: int, end_minute: int, most_members: int
) -> None:
    """Count what is stored of these minutes; of users and spaces those with the most requests have their own series.

    Args:
        connection: In a transaction with one view (`telemetry.reading`), the same as that of `read_seen`.
        store: Empty.
        first_minute: Since 1970.
        end_minute: Not included.
        most_members: Commands, users or spaces that are told apart.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    whole = _Asked(connection, first_minute, end_minute)
    named = {by: whole.members(by, most_members) for by in sorted(store.told_apart)}
    minutes = max(1, _AT_ONCE // (1 + max(map(len, named.values()), default=0)))
    for first in range(first_minute, end_minute, minutes):
        _fill(_Asked(connection, first, min(first + minutes, end_minute)), store, named)


def _fill(asked: _Asked, store: MetricsStore, named: Mapping[By, Sequence[Any]]) -> None:
    """Count what is stored of a few minutes."""
    totals = asked.tallies("operation", ("component",), {})
    for (component, _, minute, measure), tally in totals.items():
        store.add_stored(Series(component), minute, measure, tally)
    for by, members in named.items():
        column = MEMBER[_DIMENSION[by]]
        only = {column: members} | _only_commands(by)
        tallies = asked.tallies(_DIMENSION[by], (column,), only) if members else {}
        for (component, member, minute, measure), tally in tallies.items():
            store.add_stored(Series(component, by, member), minute, measure, tally)
        for (component, _, minute, measure), tally in totals.items():
            if by == "command" and component != "command":
                continue
            shares = (tallies.get((component, _name(member), minute, measure)) for member in members)
            rest = _without(tally, [share for share in shares if share is not None])
            if rest.events:
                store.add_stored(Series(component, by, OTHER), minute, measure, rest)


class _Asked:
    """Questions about the same time."""

    def __init__(self, connection: Connection[Any], first_minute: int, end_minute: int) -> None:
        self._connection = connection
        self._first_us, self._end_us = first_minute * _MINUTE_US, end_minute * _MINUTE_US

    def tallies(
        self, dimension: Dimension, by: tuple[str, ...], only: Mapping[str, Collection[Any]]
    ) -> dict[_Key, Tally]:
        """By component, member, minute and measure."""
        found: dict[_Key, Tally] = {}
        for figure in self._answer(dimension, (*_COMMON, *by), only):
            if figure.starts_at is not None:
                minute = int(figure.starts_at.timestamp()) // 60
                key = (_COMPONENT_OF[figure.key["event_type"]], _name(figure.key[by[0]]), minute, figure.key["measure"])
                found.setdefault(key, Tally()).add(figure)
        return found

    def members(self, by: By, most: int) -> list[Any]:
        """The commands, users or spaces with the most requests."""
        if by == "command":
            return self._commands(most)
        given = {
            "first_id": least_id_at(self._first_us),
            "end_id": least_id_at(self._end_us),
            "types": list(_COMPONENT_OF),
            "most": most,
        }
        statement = SQL["busiest_users" if by == "user" else "busiest_spaces"]
        return [row[0] for row in self._connection.execute(statement, given)]

    def _commands(self, most: int) -> list[Any]:
        question = Question(
            from_unix_us(self._first_us),
            from_unix_us(self._end_us),
            None,
            "operation",
            ("operation",),
            {**REAL, **_only_commands("command"), "measure": ["duration"]},
            spread=False,
        )
        found = sorted(answer(self._connection, question).figures, key=lambda figure: -figure.events)
        return [figure.key["operation"] for figure in found[:most]]

    def _answer(
        self, dimension: Dimension, by: tuple[str, ...], only: Mapping[str, Collection[Any]]
    ) -> Iterable[Figure]:
        kinds = {**REAL, "event_type": list(_COMPONENT_OF), **only}
        since, until = from_unix_us(self._first_us), from_unix_us(self._end_us)
        return answer(self._connection, Question(since, until, "minute", dimension, by, kinds)).figures


def _only_commands(by: By) -> dict[str, Collection[Any]]:
    return {"event_type": list(REQUESTS["command"])} if by == "command" else {}


def _name(member: Any) -> str:  # noqa: ANN401 - a text, 16 bytes or a UUID
    """As series are named."""
    if member is None:
        return OTHER
    return member.hex() if isinstance(member, bytes) else str(member)


def _without(whole: Tally, parts: Iterable[Tally]) -> Tally:
    """What is left of a tally; least and greatest stay those of the whole."""
    left = whole
    for part in parts:
        left = Tally(
            left.events - part.events,
            left.errors - part.errors,
            left.measured - part.measured,
            left.total - part.total,
            histogram_without(left.histogram, part.histogram),
            {name: count - part.categories.get(name, 0) for name, count in left.categories.items()},
        )
    return left
