"""What buckets are folded from, as SQL: parts of events and parts of narrower buckets, in one shape.

So an hour is the same whether it is folded from its minutes or from its events, and an answer may be folded from all of
them together: folding is sums, and sums do not care in which order they are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from psycopg import sql

from telemetry.sql import queries

SQL = queries(__file__)

Width = Literal["minute", "hour", "day"]
Dimension = Literal["operation", "space", "user"]

#: Minutes of each width.
MINUTES: Final[dict[Width, int]] = {"minute": 1, "hour": 60, "day": 1440}

#: The column that each dimension tells apart.
MEMBER: Final[dict[Dimension, str]] = {"operation": "operation", "space": "space_id", "user": "user_id"}

#: What buckets of every dimension tell apart.
COMMON: Final = ("starts_at", "component", "event_type", "level", "dry_run", "outcome", "error_category", "measure")

#: What is added up, and what is stored of a bucket beside its key.
SUMS: Final = ("events", "errors", "measured", "total")
FIGURES: Final = (*SUMS, "least", "greatest", "last_at", "bins", "counts")

#: What a part adds, whatever is told apart.
ADDED: Final = (*SUMS, "least", "greatest", "last_at", "scale", "bin", "count")

_OF_DURATIONS, _OF_MEASURES, _OF_BUCKETS, _OF_SUMS, _OF_BINS = (
    sql.SQL(SQL[name]) for name in ("of_durations", "of_measures", "of_buckets", "of_sums", "of_bins")
)

#: A row for each value; of an event that should have one and has none, one without, so that the event is counted.
_VALUES: Final = sql.SQL(
    "{durations} where {events} union all select * from ({measures} and ({events})) as each"
    " where value is not null or measure = 'queue_wait'"
)
_OF_EVENTS: Final = sql.SQL(
    "select *, 1::bigint as events, (level = 'error')::integer::bigint as errors,"
    " (value is not null)::integer::bigint as measured, coalesce(value, 0)::bigint as total, value as least,"
    " value as greatest, occurred_at as last_at, 5::smallint as scale, histogram_bin(value) as bin,"
    " (value is not null)::integer::bigint as count from ({values}) as e"
)
_NO_BIN: Final = sql.SQL("null::smallint")
_ALL_BINS: Final = sql.SQL("histogram_bin(value)")
_ALWAYS: Final = sql.SQL("true")
_COUNTED: Final = sql.SQL(
    "select {keys} count(*)::bigint as events, count(*) filter (where level = 'error')::bigint as errors,"
    " count(value)::bigint as measured, coalesce(sum(value), 0)::bigint as total, min(value) as least,"
    " max(value) as greatest, max(occurred_at) as last_at, 5::smallint as scale, bin, count(value)::bigint as count"
    " from (select *, {bin} as bin from ({values}) as e where {where}) as e group by {keys} bin"
)
_SUMMED: Final = sql.SQL(
    "select {keys} sum(events)::bigint as events, sum(errors)::bigint as errors, sum(measured)::bigint as measured,"
    " sum(total)::bigint as total, min(least) as least, max(greatest) as greatest, max(last_at) as last_at,"
    " '{{}}'::smallint[] as scales, '{{}}'::smallint[] as bins, '{{}}'::bigint[] as counts"
    " from ({parts}) as part group by ({keys_alone})"
)
_BINNED: Final = sql.SQL(
    "select {keys} scale, bin, sum(events) as events, sum(errors) as errors, sum(measured) as measured,"
    " sum(total) as total, min(least) as least, max(greatest) as greatest, max(last_at) as last_at,"
    " sum(count)::bigint as count"
    " from ({parts}) as part group by {keys} scale, bin"
)
_IN_ORDER: Final = sql.SQL("order by scale, bin")
_FOLDED: Final = sql.SQL(
    "select {keys} sum(events)::bigint as events, sum(errors)::bigint as errors, sum(measured)::bigint as measured,"
    " sum(total)::bigint as total, min(least) as least, max(greatest) as greatest, max(last_at) as last_at,"
    " coalesce(array_agg(scale {order}) filter (where count > 0), '{{}}') as scales,"
    " coalesce(array_agg(bin {order}) filter (where count > 0), '{{}}') as bins,"
    " coalesce(array_agg(count {order}) filter (where count > 0), '{{}}') as counts"
    " from ({parts}) as binned group by ({keys_alone})"
)


def of_events(where: sql.Composable) -> sql.Composed:
    """Parts of the events `e` that a condition holds for; needs the parameter `width`."""
    return _OF_EVENTS.format(values=_values(where))


def of_events_added(where: sql.Composable, keys: Iterable[str]) -> sql.Composed:
    """The same, added up already, as long as nothing but these keys is told apart; `measure` is one of them."""
    return _COUNTED.format(keys=_each(keys), bin=_ALL_BINS, values=_values(where), where=_ALWAYS)


def of_durations(
    events: sql.Composable, where: sql.Composable, keys: Iterable[str], binned: sql.Composable | None
) -> sql.Composed:
    """Parts of the durations of events, added up already: several times as fast where there are many events.

    Args:
        events: A condition on the events `e`.
        where: One more, on what is told apart.
        keys: What is.
        binned: For which of them it is said in which bin they are; for none, if that is of no interest.
    """
    bin_ = _NO_BIN if binned is None else sql.SQL("case when {} then histogram_bin(value) end").format(binned)
    durations = sql.SQL("{} where {}").format(_OF_DURATIONS, events)
    return _COUNTED.format(keys=_each(keys), bin=bin_, values=durations, where=where)


def of_buckets(where: sql.Composable, *, spread: bool = True) -> sql.Composed:
    """Parts of the buckets `b` that a condition holds for, with their bins or without; needs the parameter `width`."""
    return sql.SQL("{} where {}").format(_OF_BUCKETS if spread else _OF_SUMS, where)


def of_bins(where: sql.Composable) -> sql.Composed:
    """Bins of the buckets `b` that a condition holds for, a row of them for each bucket that has any."""
    return sql.SQL("{} where b.bins <> '{{}}' and {}").format(_OF_BINS, where)


def binned(parts: sql.Composable, keys: Iterable[str]) -> sql.Composed:
    """Fewer parts that fold to the same, as long as nothing but these keys is told apart."""
    return _BINNED.format(parts=parts, keys=_each(keys))


def folded(
    parts: sql.Composable, keys: Iterable[str], *, in_order: bool = True, is_added: bool = False
) -> sql.Composed:
    """The buckets of these keys: `FIGURES`, and `scales` beside each of `bins`, in order or in none.

    Args:
        parts: Of them.
        keys: What is told apart.
        in_order: Whether bins are.
        is_added: Whether the parts of these keys are added up already (`of_events_added`).
    """
    keys = tuple(keys)
    order = _IN_ORDER if in_order else sql.SQL("")
    added = parts if is_added else binned(parts, keys)
    return _FOLDED.format(parts=added, keys=_each(keys), keys_alone=columns(keys), order=order)


def summed(parts: sql.Composable, keys: Iterable[str]) -> sql.Composed:
    """As `folded`, without any bins."""
    keys = tuple(keys)
    return _SUMMED.format(parts=parts, keys=_each(keys), keys_alone=columns(keys))


def columns(names: Iterable[str]) -> sql.Composed:
    """Names of columns, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _each(names: Iterable[str]) -> sql.Composed:
    return sql.Composed([sql.SQL("{}, ").format(sql.Identifier(name)) for name in names])


def _values(where: sql.Composable) -> sql.Composed:
    return _VALUES.format(durations=_OF_DURATIONS, measures=_OF_MEASURES, events=where)
