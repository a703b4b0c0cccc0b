"""The statement that writes buckets: anew, or in addition to what is there."""

from __future__ import annotations

from functools import cache
from typing import Final

from psycopg import sql

from telemetry.rollups.parts import (
    COMMON,
    FIGURES,
    MEMBER,
    SUMS,
    Dimension,
    Width,
    columns,
    folded,
    of_buckets,
    of_events_added,
)

_BY_ID: Final = sql.SQL("e.event_id >= %(first_id)s and e.event_id < %(end_id)s and e.component <> all(%(sealed)s)")
_BY_BUCKET: Final = sql.SQL(
    "b.dimension = {dimension} and b.width = {width} and b.starts_at >= %(since)s and b.starts_at < %(until)s"
    " and b.component <> all(%(sealed)s)"
)
_WRITTEN: Final = sql.SQL("insert into telemetry_metrics as m ({names}) {rows}")
#: Added to what is there: each figure, and the counts of each bin.
_ADDED: Final = sql.SQL(
    " on conflict ({key}) do update set {figures}, (bins, counts) = ("
    "  select coalesce(array_agg(bin order by bin), '{{}}'), coalesce(array_agg(count order by bin), '{{}}') from ("
    "   select bin, sum(count)::bigint as count from ("
    "    select * from unnest(m.bins, m.counts) as there (bin, count)"
    "    union all select * from unnest(excluded.bins, excluded.counts) as added (bin, count)"
    "   ) as either group by bin) as each)"
)
#: What the index `telemetry_metrics_once` has: a type of event is of one component, which it need not have.
_KEY: Final = ("dimension", "width", *(name for name in COMMON if name != "component"), *MEMBER.values())
_EITHER: Final = sql.SQL(" union all ")
_TYPES: Final[dict[Dimension, sql.SQL]] = {
    "operation": sql.SQL("text"),
    "space": sql.SQL("uuid"),
    "user": sql.SQL("bytea"),
}


@cache
def statement(
    width: Width, dimensions: tuple[Dimension, ...], narrower: Width | None, *, adds: bool = False
) -> sql.Composed:
    """What writes the buckets of some dimensions, from narrower ones or from events.

    Events are gone through for each dimension: to tell all of them apart first leaves nearly as many parts as events.
    Parameters: `width`: an interval; `sealed`; and `since` and `until`, or for events `first_id` and `end_id`.

    Args:
        width: Of what is written.
        dimensions: Of what is written.
        narrower: Width of what it is folded from; none for events.
        adds: Whether to what is there; else there must be nothing.
    """

    def buckets(each: Dimension) -> sql.Composed:
        # What tells most of them apart is first: they are sorted by it.
        keys = (MEMBER[each], *COMMON)
        if narrower is None:
            return folded(of_events_added(_BY_ID, keys), keys, is_added=True)
        return folded(of_buckets(_BY_BUCKET.format(dimension=each, width=narrower)), keys)

    names = ("dimension", "width", *COMMON, *MEMBER.values(), *FIGURES)
    rows = _EITHER.join(_rows(each, width, buckets(each)) for each in dimensions)
    written = _WRITTEN.format(names=columns(names), rows=rows)
    return sql.Composed([written, _added()]) if adds else written


def _added() -> sql.Composed:
    figures = [_added_figure(name) for name in FIGURES if name not in ("bins", "counts")]
    return _ADDED.format(key=columns(_KEY), figures=sql.SQL(", ").join(figures))


def _added_figure(name: str) -> sql.Composed:
    figure = sql.Identifier(name)
    if name in SUMS:
        return sql.SQL("{0} = m.{0} + excluded.{0}").format(figure)
    which = sql.SQL("least" if name == "least" else "greatest")
    return sql.SQL("{0} = {1}(m.{0}, excluded.{0})").format(figure, which)


def _rows(dimension: Dimension, width: Width, buckets: sql.Composable) -> sql.Composed:
    """Rows of buckets of one dimension; what other dimensions tell apart is null."""
    members = [
        sql.Identifier(column)
        if each == dimension
        else sql.SQL("null::{} as {}").format(_TYPES[each], sql.Identifier(column))
        for each, column in MEMBER.items()
    ]
    return sql.SQL("select {dimension}, {width}, {common}, {members}, {figures} from ({buckets}) as bucket").format(
        dimension=dimension,
        width=width,
        common=columns(COMMON),
        members=sql.SQL(", ").join(members),
        figures=columns(FIGURES),
        buckets=buckets,
    )
