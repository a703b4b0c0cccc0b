"""Ground truth of schedules: every due time is dealt with once, without gaps. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from chaos.differences import Difference
from chaos.facts import ExecutionFact, Facts, OccurrenceFact, ScheduleFact
from chaos.orders import Order
from chaos.schedules import WANTED, Wanted

#: States of occurrences that were run.
_RUN = frozenset({"fired", "late", "caught_up"})


def fired(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Every due time is dealt with once, without gaps, and what was run has one execution, for that due time."""
    by_name = {schedule.name: schedule for schedule in facts.schedules}
    executions = {execution.id: execution for execution in facts.executions}
    for wanted in WANTED:
        schedule = by_name.get(wanted.name)
        if schedule is None:
            yield Difference("schedule", wanted.name, "there", "not there")
            continue
        rows = [row for row in facts.occurrences if row.schedule_id == schedule.id]
        for row in rows:
            yield from _told(wanted, row)
            yield from _ran(wanted, row, executions)
        yield from _without_gaps(wanted, schedule, rows)
    yield from _each_told_once(facts)


def _told(wanted: Wanted, row: OccurrenceFact) -> Iterator[Difference]:
    """What became of a due time is what the schedule asks for, and a stretch of them is as long as it says."""
    about = f"{wanted.name} {row.due_at.isoformat()}"
    if row.state == "waiting":
        yield Difference("occurrence", about, "run, or not, and said so", row.state)
    elif wanted.is_every_one_run and row.state not in _RUN:
        yield Difference("every due time", about, "run", (row.state, row.reason))
    stretch = row.last_due_at - row.due_at
    if stretch // wanted.every + 1 != row.due_times or stretch % wanted.every != timedelta():
        yield Difference("stretch", about, stretch // wanted.every + 1, row.due_times)


def _ran(wanted: Wanted, row: OccurrenceFact, executions: Mapping[str, ExecutionFact]) -> Iterator[Difference]:
    """One that was run has an execution that was given its due time; others have none."""
    token = f"{wanted.name}@{row.due_at:%Y%m%dT%H%M%S}" if row.state in _RUN else None
    execution = executions.get(row.execution_id or "")
    found = None if execution is None else execution.token
    if token != found or (execution is not None and execution.schedule_id != row.schedule_id):
        yield Difference("occurrence runs", f"{wanted.name} {row.due_at.isoformat()}", token, execution)


def _without_gaps(wanted: Wanted, schedule: ScheduleFact, rows: Sequence[OccurrenceFact]) -> Iterator[Difference]:
    """From when it was made until it was ended, one due time follows the other."""
    if not rows:
        yield Difference("due times", wanted.name, "some", "none")
        return
    first, last = rows[0].due_at, rows[-1].last_due_at
    if first - schedule.created_at > wanted.every or schedule.updated_at - last > wanted.every:
        ends = (schedule.created_at.isoformat(), schedule.updated_at.isoformat())
        yield Difference("due times", wanted.name, ends, (first.isoformat(), last.isoformat()))
    for before, after in pairwise(rows):
        if after.due_at - before.last_due_at != wanted.every:
            ends = (before.last_due_at.isoformat(), after.due_at.isoformat())
            yield Difference("gap", wanted.name, str(wanted.every), ends)


def _each_told_once(facts: Facts) -> Iterator[Difference]:
    """Every execution that a schedule asked for has one occurrence, no other has any."""
    told = Counter(row.execution_id for row in facts.occurrences if row.execution_id is not None)
    for execution in facts.executions:
        expected = int(execution.link == "scheduled_by")
        if told[execution.id] != expected:
            yield Difference("scheduled", execution.id, expected, told[execution.id])
