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
COMMON: Final = ("starts_at", "component", "event_type", "outcome", "error_category", "measure")

#: What is added up, and what is stored of a bucket beside its key.
SUMS: Final = ("events", "errors", "measured", "total")
FIGURES: Final = (*SUMS, "least", "greatest", "bins", "counts")

#: Columns of a part but the last two, in their order.
_LEADING: Final = (
    *("starts_at", "component", "event_type", "operation", "outcome", "error_category", "space_id", "user_id"),
    *("measure", *SUMS, "least", "greatest", "scale"),
)

_OF_EVENTS, _OF_BUCKETS, _OF_SUMS = (sql.SQL(SQL[name]) for name in ("of_events", "of_buckets", "of_sums"))

_WITHOUT_BINS: Final = sql.SQL("select {columns}, null::smallint as bin, 0::bigint as count from ({parts}) as part")
_BINNED: Final = sql.SQL(
    "select {keys} scale, bin, sum(events) as events, sum(errors) as errors, sum(measured) as measured,"
    " sum(total) as total, min(least) as least, max(greatest) as greatest, sum(count)::bigint as count"
    " from ({parts}) as part group by {keys} scale, bin"
)
_FOLDED: Final = sql.SQL(
    "select {keys} sum(events)::bigint as events, sum(errors)::bigint as errors, sum(measured)::bigint as measured,"
    " sum(total)::bigint as total, min(least) as least, max(greatest) as greatest,"
    " coalesce(array_agg(scale order by scale, bin) filter (where count > 0), '{{}}') as scales,"
    " coalesce(array_agg(bin order by scale, bin) filter (where count > 0), '{{}}') as bins,"
    " coalesce(array_agg(count order by scale, bin) filter (where count > 0), '{{}}') as counts"
    " from ({parts}) as binned group by ({keys_alone})"
)


def of_events(where: sql.Composable) -> sql.Composed:
    """Parts of the events `e` that a condition holds for; needs the parameter `width`."""
    return sql.SQL("{} where {}").format(_OF_EVENTS, where)


def of_buckets(where: sql.Composable, *, spread: bool = True) -> sql.Composed:
    """Parts of the buckets `b` that a condition holds for, with their bins or without; needs the parameter `width`."""
    return sql.SQL("{} where {}").format(_OF_BUCKETS if spread else _OF_SUMS, where)


def without_bins(parts: sql.Composable) -> sql.Composed:
    """The same parts, none of which says which bin its values are in."""
    return _WITHOUT_BINS.format(columns=columns(_LEADING), parts=parts)


def binned(parts: sql.Composable, keys: Iterable[str]) -> sql.Composed:
    """Fewer parts that fold to the same, as long as nothing but these keys is told apart."""
    return _BINNED.format(parts=parts, keys=_each(keys))


def folded(parts: sql.Composable, keys: Iterable[str]) -> sql.Composed:
    """The buckets of these keys: `FIGURES`, and `scales` beside each of `bins`."""
    keys = tuple(keys)
    return _FOLDED.format(parts=binned(parts, keys), keys=_each(keys), keys_alone=columns(keys))


def columns(names: Iterable[str]) -> sql.Composed:
    """Names of columns, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _each(names: Iterable[str]) -> sql.Composed:
    return sql.Composed([sql.SQL("{}, ").format(sql.Identifier(name)) for name in names])
