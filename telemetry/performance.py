"""How long commands, steps, tools, models, chats and requests took, and how often they failed.

Everything that tells of durations over many events reads them here, and here only: from roll-ups where these can tell,
so that it costs the same however many events there are, and percentiles are as near as histograms are; else from the
events of the time asked for, each time, with exact percentiles. Whatever else is told is the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Clause, Filter, Is, Starts
from telemetry.query import store_errors
from telemetry.rollups.asked import Slice, slice_of
from telemetry.rollups.histogram import Histogram, error_percent
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer
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
_ORDER: Final[Mapping[Order, Callable[[Timing], Any]]] = {
    "total": lambda line: -line.total_us,
    "count": lambda line: -line.count,
    "failures": lambda line: (-line.failures, -line.count),
    "p50": lambda line: -line.p50_us,
    "p95": lambda line: -line.p95_us,
    "p99": lambda line: -line.p99_us,
    "max": lambda line: -line.max_us,
    "name": lambda _line: 0,
}
_SHARES: Final = (0.5, 0.95, 0.99)

_COMMANDS: Final = ("command.execution.completed", "command.execution.failed")
_STEPS: Final = ("dsl.step.executed", "dsl.step.failed")
#: Types of events of what buckets can tell apart; what is a chat they cannot.
_TYPES: Final[Mapping[Kind | None, tuple[str, ...]]] = {
    None: (*_COMMANDS, *_STEPS),
    "command": _COMMANDS,
    "step": _STEPS,
    "tool": _STEPS,
    "model": _STEPS,
    "http": ("http.request.completed",),
}
#: Steps that are of a kind, by the first words of their types.
_CALLED: Final[Mapping[Kind | None, str]] = {"tool": "tool.", "model": "ai."}
_KIND_OF: Final[Mapping[str, Kind]] = {"command": "command", "dsl": "step", "http": "http"}

_GROUPED: Final = sql.SQL(
    "select kind, name, is_all, count, failures, percentiles_us[1] as p50_us, percentiles_us[2] as p95_us,"
    " percentiles_us[3] as p99_us, max_us, total_us, last_at from ("
    "  select kind, name, grouping(name) = 1 as is_all, count(*) as count,"
    "    count(*) filter (where outcome is distinct from 'succeeded') as failures,"
    "    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_us) as percentiles_us,"
    "    max(duration_us) as max_us, sum(duration_us) as total_us, max(occurred_at) as last_at"
    "  from ({timed}) as timed group by grouping sets ({sets})"
    ") as each"
)
_EACH: Final = sql.SQL("(kind, name)")
_EACH_AND_ALL: Final = sql.SQL("(kind, name), (kind)")


@dataclass(frozen=True, slots=True)
class Timing:
    """How one thing went. Durations in microseconds; percentiles are exact, or as near as `Performance` says.

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
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: int
    total_us: Decimal
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Performance:
    """What was found.

    Attributes:
        lines: One of each kind and name, in the order that was asked for.
        whole: All of a kind together, if that was asked for.
        error_percent: By how much percentiles may be off, at most; 0 if they are of events.
        since: The first instant that it tells of, if that is another one than was asked for: events of before are gone.
    """

    lines: tuple[Timing, ...]
    whole: Mapping[Kind, Timing]
    error_percent: float = 0.0
    since: datetime | None = None


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
        connection: In a transaction with one view (`telemetry.reading`).
        asked: Names of users and spaces resolved; with bounds of time, or everything is read.
        kind: Of what; commands and steps if none.
        order: Of the lines: the most first, names from a on.
        whole: Whether to tell of each kind as a whole too.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    part = slice_of(asked, _TYPES[kind]) if kind in _TYPES else None
    if part is None:
        return _of_events(connection, asked, kind, order, whole=whole)
    with store_errors():
        told = answer(connection, question(part, kind))
    found = timed(told.figures, kind, order)
    return replace(found, since=told.since if told.since != part.since else None)


def question(part: Slice, kind: Kind | None) -> Question:
    """What is asked of roll-ups, of one of the kinds that they tell apart."""
    where = part.where
    if kind in _CALLED:
        where = where.and_also(Filter((Clause("operation", (Starts(_CALLED[kind]),)),)))
    return Question(
        part.since,
        part.until,
        by=("event_type", "outcome", "operation"),
        only={"measure": ["duration"], "event_type": _TYPES[kind]},
        is_exact=True,
        where=where,
    )


def timed(figures: Iterable[Figure], kind: Kind | None, order: Order) -> Performance:
    """What the figures of `question` tell, each kind as a whole too."""
    lines: dict[tuple[Kind, str | None], list[Figure]] = {}
    kinds: dict[Kind, list[Figure]] = {}
    for figure in figures:
        if figure.measured:
            of = kind or _KIND_OF[figure.key["event_type"].partition(".")[0]]
            lines.setdefault((of, figure.key["operation"]), []).append(figure)
            kinds.setdefault(of, []).append(figure)
    told = [_timing(of, name, False, members) for (of, name), members in lines.items()]
    whole = {of: _timing(of, None, True, members) for of, members in kinds.items()}
    off = max((error_percent(each.histogram.scale) for members in kinds.values() for each in members), default=0.0)
    return Performance(_ordered(told, order), whole, off)


def _timing(kind: Kind, name: str | None, is_all: bool, figures: Sequence[Figure]) -> Timing:
    histogram = Histogram.total(figure.histogram for figure in figures)
    p50_us, p95_us, p99_us = histogram.quantiles(*_SHARES)
    return Timing(
        kind,
        name,
        is_all,
        sum(figure.measured for figure in figures),
        sum(figure.measured for figure in figures if figure.key["outcome"] != "succeeded"),
        p50_us,
        p95_us,
        p99_us,
        histogram.greatest or 0,
        Decimal(sum(figure.total for figure in figures)),
        max(figure.last_at for figure in figures),
    )


def _of_events(
    connection: Connection[Any], asked: Filter, kind: Kind | None, order: Order, *, whole: bool
) -> Performance:
    wanted = conditions(asked)
    wanted.add(sql.SQL("duration_us is not null"))
    statement = _GROUPED.format(
        timed=sql.SQL(" and ").join([sql.SQL(SQL[f"select_{kind or 'both'}"]), *wanted.all_of]),
        sets=_EACH_AND_ALL if whole else _EACH,
    )
    with store_errors(), connection.cursor(row_factory=class_row(Timing)) as cursor:
        rows = cursor.execute(statement, wanted.values).fetchall()
    lines = [row for row in rows if not row.is_all]
    return Performance(_ordered(lines, order), {row.kind: row for row in rows if row.is_all})


def _ordered(lines: Iterable[Timing], order: Order) -> tuple[Timing, ...]:
    return tuple(sorted(lines, key=lambda line: (_ORDER[order](line), line.kind, line.name is None, line.name or "")))


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
        "p50_ms": round(timing.p50_us / 1000, 6),
        "p95_ms": round(timing.p95_us / 1000, 6),
        "p99_ms": round(timing.p99_us / 1000, 6),
        "max_ms": timing.max_us / 1000,
        "total_ms": float(timing.total_us / 1000),
        "last_at": timing.last_at,
    }


def percent(part: Decimal | int, whole: Decimal | int) -> float | None:
    """A share in percent, to three decimals; of nothing there is none."""
    return float(round(Decimal(100) * part / whole, 3)) if whole else None
