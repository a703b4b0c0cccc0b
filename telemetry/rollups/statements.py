"""Questions as one statement: the events that no bucket tells of are gone through once, whoever asks. Pure.

A statement gives rows of every question, by its number: what is told apart, where that is asked for, and what it adds
up to. Where bins are asked for, of all of the time, they come in rows of their own, which have no figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from psycopg import sql

from telemetry.filters.conditions import Conditions, conditions
from telemetry.rollups.parts import (
    ADDED,
    columns,
    folded,
    of_bins,
    of_durations,
    of_events,
    summed,
)
from telemetry.rollups.parts import (
    of_buckets as parts_of_buckets,
)
from telemetry.rollups.question import Question
from telemetry.rollups.sources import Sources

#: Types of what may be told apart, for where it is not.
_TYPES: Final[Mapping[str, sql.SQL]] = {
    **dict.fromkeys(
        ("component", "event_type", "level", "operation", "outcome", "error_category", "measure"), sql.SQL("text")
    ),
    "starts_at": sql.SQL("timestamptz"),
    "dry_run": sql.SQL("boolean"),
    "space_id": sql.SQL("uuid"),
    "user_id": sql.SQL("bytea"),
}
_FIGURES: Final = (
    *("events", "errors", "measured", "total", "least", "greatest", "last_at"),
    *("scales", "bins", "counts"),
)
_AND, _OR, _EITHER, _ALWAYS = sql.SQL(" and "), sql.SQL(" or "), sql.SQL(" union all "), sql.SQL("true")
_ANY_OF: Final = sql.SQL("{} = any({})")
_CHOSEN: Final = sql.SQL("select {columns} from ({parts}) as part where {where}")
_SEEN: Final = sql.SQL("select {columns} from seen where {where}")
_TOLD: Final = sql.SQL("select {number}::integer as number, {keys} {figures} from ({folded}) as told")
#: Bins of events, and of buckets as they are: to put them together here is twice as fast as to have Postgres do it.
_NO_SUMS: Final = sql.SQL(
    "null::bigint as events, null::bigint as errors, null::bigint as measured, null::bigint as total,"
    " null::bigint as least, null::bigint as greatest, null::timestamptz as last_at"
)
_BINS_SEEN: Final = sql.SQL(
    "select {number}::integer as number, {keys} {no_sums}, array[scale] as scales, array_agg(bin) as bins,"
    " array_agg(count) as counts from seen where {where} and count > 0 group by {grouped}"
)
_BINS: Final = sql.SQL(
    "select {number}::integer as number, {keys} {no_sums}, array[scale] as scales, bins, counts"
    " from ({parts}) as part where {where}"
)
_WHOLE: Final = sql.SQL("with seen as {materialized} ({seen}) {told}")
#: Several selects would each go through the events again; for one, conditions had better reach them.
_ONCE, _INLINE = sql.SQL("materialized"), sql.SQL("not materialized")

_DURATIONS: Final = {"duration"}


def statement_of(questions: Sequence[Question], sources: Sequence[Sources]) -> tuple[sql.Composed, dict[str, Any]]:
    """What answers questions, and the values of its parameters.

    Args:
        questions: Of the same `where`; with a width, at most one of them.
        sources: Of each; they read the same events.
    """
    where = conditions(questions[0].where)
    asked = [_only(question, where) for question in questions]
    step = next((question.step for question in questions if question.step is not None), timedelta(days=1))
    where.values["width"] = step
    names = tuple(dict.fromkeys(name for question in questions for name in _keys(question)))
    told = [
        each
        for number, (question, of_question) in enumerate(zip(questions, asked, strict=True))
        for each in _told(number, question, names, of_question, sources[number].buckets, where)
    ]
    statement = _WHOLE.format(
        materialized=_INLINE if len(told) == 1 else _ONCE,
        seen=_seen(questions, asked, sources[0].events, where),
        told=_EITHER.join(told),
    )
    return statement, where.values


def _seen(
    questions: Sequence[Question], asked: Sequence[sql.Composable], events: sql.Composable, where: Conditions
) -> sql.Composable:
    """Parts of the events that somebody asks for: those of durations alone are much cheaper, and added up at once."""
    names = sorted({name for question in questions for name in (*_keys(question), *question.only)})
    any_of = _OR.join(sql.SQL("({})").format(each) for each in asked)
    chosen = sql.SQL("{} and ({})").format(_all_of(where), any_of)
    if any(set(question.only.get("measure", ())) != _DURATIONS for question in questions):
        return _CHOSEN.format(columns=columns((*names, *ADDED)), parts=of_events(events), where=chosen)
    spread = [of_question for question, of_question in zip(questions, asked, strict=True) if question.spread]
    binned = _OR.join(sql.SQL("({})").format(each) for each in spread) if spread else None
    return of_durations(events, chosen, names, binned)


def _told(  # noqa: PLR0913 - what one question is made of
    number: int,
    question: Question,
    names: Sequence[str],
    only: sql.Composable,
    buckets: Sequence[sql.Composable],
    where: Conditions,
) -> Iterator[sql.Composed]:
    """The rows of one question."""
    keys = _keys(question)
    of_buckets = _AND.join([only, _all_of(where)])
    is_folded = question.spread and question.width is not None
    added = columns((*keys, *ADDED))
    parts: list[sql.Composable] = [_SEEN.format(columns=added, where=only)]
    parts.extend(
        _CHOSEN.format(columns=added, parts=parts_of_buckets(each, spread=is_folded), where=of_buckets)
        for each in buckets
    )
    either = _EITHER.join(parts)
    head = {"number": number, "keys": sql.Composed([sql.SQL("{}, ").format(_key(name, keys)) for name in names])}
    yield _TOLD.format(
        **head,
        figures=columns(_FIGURES),
        folded=folded(either, keys, in_order=False) if is_folded else summed(either, keys),
    )
    if question.spread and not is_folded:
        yield _BINS_SEEN.format(**head, no_sums=_NO_SUMS, grouped=columns((*keys, "scale")), where=only)
        for each in buckets:
            yield _BINS.format(**head, no_sums=_NO_SUMS, parts=of_bins(each), where=of_buckets)


def _key(name: str, keys: Iterable[str]) -> sql.Composable:
    if name in keys:
        return sql.Identifier(name)
    return sql.SQL("null::{} as {}").format(_TYPES[name], sql.Identifier(name))


def _keys(question: Question) -> tuple[str, ...]:
    return (*(("starts_at",) if question.width else ()), *question.by)


def _only(question: Question, where: Conditions) -> sql.Composable:
    """The values that a question asks for, as a condition."""
    return _AND.join([*_each_only(question, where), _ALWAYS])


def _each_only(question: Question, where: Conditions) -> Iterator[sql.Composed]:
    for name, values in question.only.items():
        yield _ANY_OF.format(sql.Identifier(name), where.parameter(list(values)))


def _all_of(where: Conditions) -> sql.Composable:
    return _AND.join(where.all_of or [_ALWAYS])
