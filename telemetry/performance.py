"""How long commands, steps, tools, models, chats and requests took, and how often they failed.

Everything that tells of durations over many events reads them here, and here only: from raw events, each time, so that
percentiles are exact. What it costs grows with the events of the time asked for. Something that is kept ready, as
buckets would be, replaces `read` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Clause, Filter, Is
from telemetry.query import store_errors
from telemetry.sql import queries

SQL = queries(__file__)

Kind = Literal["command", "step", "tool", "model", "chat", "http"]
Order = Literal["total", "count", "failures", "p50", "p95", "p99", "max", "name"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
#: Lines of one answer, at most.
MAX_LINES: Final = 1000

#: What components of events, other systems and people call the kinds.
_ALSO: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        **{kind: kind for kind in KINDS},
        **{f"{kind}s": kind for kind in KINDS if kind != "http"},
        "dsl": "step",
        "llm": "model",
        "ai": "model",
        "request": "http",
        "requests": "http",
    }
)

#: How lines are put in order; where they are the same, by kind and name.
_ORDER: Final[Mapping[Order, sql.SQL]] = {
    "total": sql.SQL("total_us desc"),
    "count": sql.SQL("count desc"),
    "failures": sql.SQL("failures desc, count desc"),
    "p50": sql.SQL("p50_us desc"),
    "p95": sql.SQL("p95_us desc"),
    "p99": sql.SQL("p99_us desc"),
    "max": sql.SQL("max_us desc"),
    "name": sql.SQL("name"),
}

_GROUPED: Final = sql.SQL(
    "select kind, name, is_all, count, failures, percentiles_us[1] as p50_us, percentiles_us[2] as p95_us,"
    " percentiles_us[3] as p99_us, max_us, total_us, last_at from ("
    "  select kind, name, grouping(name) = 1 as is_all, count(*) as count,"
    "    count(*) filter (where outcome is distinct from 'succeeded') as failures,"
    "    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_us) as percentiles_us,"
    "    max(duration_us) as max_us, sum(duration_us) as total_us, max(occurred_at) as last_at"
    "  from ({timed}) as timed group by grouping sets ({sets})"
    ") as each order by {order}, kind, name"
)
_EACH: Final = sql.SQL("(kind, name)")
_EACH_AND_ALL: Final = sql.SQL("(kind, name), (kind)")


@dataclass(frozen=True, slots=True)
class Timing:
    """How one thing went. Durations in microseconds; percentiles are durations of runs that there were.

    Attributes:
        kind: What it is.
        name: Of it; none where events say none.
        is_all: Whether it is everything of its kind together.
        count: How often it ran.
        failures: How often it did not succeed.
        p50_us: Half of the runs took no longer.
        p95_us: Nineteen in twenty.
        p99_us: Ninety-nine in a hundred.
        max_us: The longest.
        total_us: All of them.
        last_at: When the last ended.
    """

    kind: Kind
    name: str | None
    is_all: bool
    count: int
    failures: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int
    total_us: Decimal
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Performance:
    """What was found.

    Attributes:
        lines: One of each kind and name, in the order that was asked for.
        whole: All of a kind together, if that was asked for.
    """

    lines: tuple[Timing, ...]
    whole: Mapping[Kind, Timing]


def kind_named(text: str) -> Kind | None:
    """The kind that somebody means: `chat`, `tool_telemetry`, `steps`; none if there is none."""
    return _ALSO.get(text.strip().lower().removesuffix("_telemetry"))


def real(asked: Filter) -> Filter:
    """The filter without dry runs, unless it says itself which of them it wants: what they did was never done."""
    if any(clause.field == "dry_run" for clause in asked.clauses):
        return asked
    return asked.and_also(Filter((Clause("dry_run", (Is(False),)),)))


def read(
    connection: Connection[Any], asked: Filter, kind: Kind | None, order: Order = "total", *, whole: bool = False
) -> Performance:
    """Durations and failures of what the events of a filter tell of.

    Args:
        connection: To a migrated database.
        asked: Names of users and spaces resolved; with bounds of time, or everything is read.
        kind: Of what; commands and steps if none.
        order: Of the lines: the most first, names from a on.
        whole: Whether to tell of each kind as a whole too.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    wanted = conditions(asked)
    wanted.add(sql.SQL("duration_us is not null"))
    statement = _GROUPED.format(
        timed=sql.SQL(" and ").join([sql.SQL(SQL[f"select_{kind or 'both'}"]), *wanted.all_of]),
        sets=_EACH_AND_ALL if whole else _EACH,
        order=_ORDER[order],
    )
    with store_errors(), connection.cursor(row_factory=class_row(Timing)) as cursor:
        rows = cursor.execute(statement, wanted.values).fetchall()
    return Performance(tuple(row for row in rows if not row.is_all), {row.kind: row for row in rows if row.is_all})


def lines_json(lines: Sequence[Timing], limit: int) -> list[dict[str, Any]]:
    """The JSON of the first lines, each with its share of the time that all of its kind took together."""
    totals: dict[Kind, Decimal] = {}
    for line in lines:
        totals[line.kind] = totals.get(line.kind, Decimal()) + line.total_us
    return [
        {
            "type": line.kind,
            "name": line.name,
            **timing_json(line),
            "share_percent": percent(line.total_us, totals[line.kind]),
        }
        for line in lines[:limit]
    ]


def timing_json(timing: Timing) -> dict[str, Any]:
    """The JSON of how something went; durations are milliseconds."""
    return {
        "count": timing.count,
        "failures": timing.failures,
        "success_percent": percent(timing.count - timing.failures, timing.count),
        "p50_ms": timing.p50_us / 1000,
        "p95_ms": timing.p95_us / 1000,
        "p99_ms": timing.p99_us / 1000,
        "max_ms": timing.max_us / 1000,
        "total_ms": float(timing.total_us / 1000),
        "last_at": timing.last_at,
    }


def percent(part: Decimal | int, whole: Decimal | int) -> float | None:
    """A share in percent, to three decimals; of nothing there is none."""
    return float(round(Decimal(100) * part / whole, 3)) if whole else None
