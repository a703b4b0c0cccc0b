"""Where the parts of one answer come from, as conditions of SQL: which buckets, and which events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from psycopg import sql

from telemetry.clock import from_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.coverage import Coverage, Stretch
from telemetry.rollups.parts import Dimension

_MINUTE_US: Final = 60_000_000
#: Ids know milliseconds only: all of the one that an end is in.
_LAST_US: Final = 999

_OR, _AND = sql.SQL(" or "), sql.SQL(" and ")
_NOTHING, _ALWAYS = sql.SQL("false"), sql.SQL("true")
_IN_IDS: Final = sql.SQL("(e.event_id >= {} and e.event_id < {})")
_BETWEEN: Final = sql.SQL("(e.event_id >= {} and e.event_id < {} and e.occurred_at >= {} and e.occurred_at < {})")
_IN_TIME: Final = sql.SQL("(b.starts_at >= {} and b.starts_at < {})")
_OF_WIDTH: Final = sql.SQL("b.dimension = {} and b.width = {} and {} and ({})")
#: Events of transactions that had ended at a position (`telemetry.query.stored_before`).
_STORED_BEFORE: Final = sql.SQL("age(e.xmin) not between 0 and age({}::text::xid8::xid)")
_NOT_OF: Final = sql.SQL("not (e.component = {} and ({}))")


class Sources:
    """Gathers them.

    Args:
        dimension: Of the buckets.
        stored_before: A position: events that were stored later are not read.
    """

    def __init__(self, dimension: Dimension, stored_before: int | None) -> None:
        self._dimension = dimension
        self._stored_before = stored_before
        self._stretches: list[Stretch] = []
        self._between: list[Stretch] = []
        self._left_out: list[tuple[str, list[Stretch]]] = []
        #: Conditions on buckets `b`, each for one width: together they are all that is read of them.
        self.buckets: list[sql.Composed] = []

    def read_buckets(self, coverage: Coverage, component: str | None = None) -> None:
        """Read the buckets of a coverage, of one component only if one is named."""
        of_component = sql.SQL("b.component = {}").format(component) if component is not None else _ALWAYS
        for width, stretches in coverage.buckets.items():
            in_time = _OR.join(_IN_TIME.format(*map(_instant, stretch)) for stretch in stretches)
            self.buckets.append(_OF_WIDTH.format(self._dimension, width, of_component, in_time))

    def leave_out(self, component: str, stretches: Sequence[Stretch]) -> None:
        """Read no events of a component within these stretches of minutes."""
        if stretches:
            self._left_out.append((component, list(stretches)))

    def read_events(self, stretches: Sequence[Stretch]) -> None:
        """Read the events of these stretches of minutes, but for those left out."""
        self._stretches.extend(stretches)

    def read_between(self, first_us: int, end_us: int) -> None:
        """Read the events from one instant to another, which are in the same minute."""
        if first_us < end_us:
            self._between.append((first_us, end_us))

    def has_events_of(self, other: Sources) -> bool:
        """Whether both read the same events."""
        return (self._stretches, self._between, self._left_out, self._stored_before) == (
            other._stretches,
            other._between,
            other._left_out,
            other._stored_before,
        )

    @property
    def events(self) -> sql.Composable:
        """A condition on events `e`: all that is read of them."""
        either = [*map(_in_ids, self._stretches), *map(_between, self._between)]
        if not either:
            return _NOTHING
        without = [
            _NOT_OF.format(component, _OR.join(map(_in_ids, stretches))) for component, stretches in self._left_out
        ]
        stored = [] if self._stored_before is None else [_STORED_BEFORE.format(str(self._stored_before))]
        return _AND.join([sql.SQL("({})").format(_OR.join(either)), *without, *stored])


def _instant(minute: int) -> datetime:
    return from_unix_us(minute * _MINUTE_US)


def _in_ids(stretch: Stretch) -> sql.Composed:
    return _IN_IDS.format(*(least_id_at(minute * _MINUTE_US) for minute in stretch))


def _between(bounds: Iterable[int]) -> sql.Composed:
    first_us, end_us = bounds
    ids = least_id_at(first_us), least_id_at(end_us + _LAST_US)
    return _BETWEEN.format(*ids, from_unix_us(first_us), from_unix_us(end_us))
