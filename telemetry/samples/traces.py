"""The events of one request, execution, conversation or due time, in the order in which they are told. Pure.

What is in it, and how long it takes, is drawn; that it fits together is not: an execution ends once, its end counts the
steps that it ran, a step of it is over before the next, and what it changed is told after the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from telemetry.events import (
    ChatRequestCompleted,
    ChatRequestFailed,
    ChatRequestStarted,
    CommandValidationFailed,
    ErrorFacts,
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    ExecutionRetried,
    ExecutionStarted,
    FieldFault,
    FragmentCreated,
    FragmentDeleted,
    FragmentUpdated,
    HttpRequestCompleted,
    ScheduleMissed,
    ScheduleSkipped,
    ScheduleTriggered,
    Scope,
    StepExecuted,
    StepFailed,
    StepSkipped,
)
from telemetry.samples.chance import WILD, Dice, Weighted
from telemetry.samples.shapes import (
    ASKED,
    CHAT,
    ERRORS,
    FAILURES_OF_AN_INCIDENT,
    FAULTY_FIELDS,
    ITEM,
    MODELS,
    OTHER_ERRORS,
    READS,
    SCHEDULED,
    SUBMIT_ROUTE,
    USUAL_FAILURES,
    Command,
    Step,
)

Outcome = Literal["succeeded", "failed"]

_MINUTE_US: Final = 60_000_000
#: An execution whose steps take longer than this is marked slow.
_SLOW_US: Final = 5_000_000

_CHANGED: Final = {"created": FragmentCreated, "updated": FragmentUpdated, "deleted": FragmentDeleted}
_MODELS: Final = Weighted([model for model, _ in MODELS], [weight for _, weight in MODELS])
_CACHE: Final[Weighted[Literal["hit", "miss", "none"]]] = Weighted(("hit", "miss", "none"), (25, 65, 10))
_ASKED: Final = Weighted(ASKED, [command.weight for command in ASKED])
_SCHEDULED: Final = Weighted(SCHEDULED, [command.weight for command in SCHEDULED])
_READS: Final = tuple(
    (method, route, median, Weighted(*zip(*statuses, strict=True))) for method, route, median, statuses in READS
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A time when steps of one type fail more often than not.

    Attributes:
        first_us: When it begins.
        end_us: When it is over.
        step_type: Which; empty for all.
        number: Which of the errors of that type it is.
    """

    first_us: int
    end_us: int
    step_type: str
    number: int


@dataclass(frozen=True, slots=True)
class World:
    """Who is there, and what goes wrong when.

    Attributes:
        users: Pseudonyms, 16 bytes.
        spaces: Ids, 16 bytes.
        schedules: Ids, 16 bytes.
        incidents: Those of the time that is looked at.
    """

    users: Sequence[bytes]
    spaces: Sequence[bytes]
    schedules: Sequence[bytes]
    incidents: Sequence[Incident] = ()

    def error(self, dice: Dice, step_type: str, at_us: int) -> ErrorFacts | None:
        """What a step fails with, if it fails."""
        draw = dice.fraction()
        errors = ERRORS.get(step_type, OTHER_ERRORS)
        for incident in self.incidents:
            if incident.first_us <= at_us < incident.end_us and incident.step_type in {"", step_type}:
                return errors[incident.number % len(errors)] if draw < FAILURES_OF_AN_INCIDENT else None
        if draw >= USUAL_FAILURES:
            return None
        return errors[0] if draw < USUAL_FAILURES * 0.7 else errors[-1]


def asked(dice: Dice, world: World, at_us: int) -> list[Event]:
    """Somebody runs a command over REST."""
    return _submitted(dice, world, _ASKED.draw(dice), at_us, _who(dice, world)).events


def conversation(dice: Dice, world: World, at_us: int) -> list[Event]:
    """Somebody writes and is answered, some times over; each answer is an execution that follows the one before."""
    who, events, before = _who(dice, world), [], None
    for _ in range(1 + dice.below(5)):
        run = _submitted(dice, world, CHAT, at_us, who, before)
        events += [*run.events, *_answered(dice, run)]
        before = run.scope.execution_id
        at_us = run.events[-1].occurred_at_us + dice.duration_us(20_000_000, WILD)
    return events


def due(dice: Dice, world: World, at_us: int) -> list[Event]:
    """A due time: run, or not."""
    due_at_us = at_us // _MINUTE_US * _MINUTE_US
    at_us = due_at_us + dice.duration_us(60_000, WILD)
    schedule_id, draw = world.schedules[dice.below(len(world.schedules))], dice.fraction()
    command = _SCHEDULED.draw(dice)
    if draw < 0.04:  # noqa: PLR2004 - one in 25 is not run
        scope = Scope(dice.id_at(at_us), "sample", None, world.spaces[0], None, None, command.slug)
        if draw < 0.01:  # noqa: PLR2004 - one in 100 was missed
            return [ScheduleMissed(dice.id_at(at_us), at_us, scope, schedule_id, due_at_us, due_at_us, 1, "superseded")]
        return [ScheduleSkipped(dice.id_at(at_us), at_us, scope, schedule_id, due_at_us, due_at_us, 1, "overlap")]
    run = _Run(dice, world, command, at_us, (world.users[0], world.spaces[0]))
    run.add(ScheduleTriggered, at_us, schedule_id, due_at_us, at_us - due_at_us, "fired", "calendar")
    run.execute()
    return run.events


def read(dice: Dice, world: World, at_us: int) -> list[Event]:
    """Somebody looks at something: one request."""
    method, route, median_us, statuses = _READS[dice.below(len(_READS))]
    status, duration_us = statuses.draw(dice), dice.duration_us(median_us)
    user, space = _who(dice, world)
    scope = Scope(dice.id_at(at_us), "sample", user, space)
    outcome: Outcome = "succeeded" if status < 400 else "failed"  # noqa: PLR2004 - as HTTP has it
    return [HttpRequestCompleted(dice.id_at(at_us), at_us, scope, route, method, status, duration_us, outcome)]


def refused(dice: Dice, world: World, at_us: int) -> list[Event]:
    """A submission whose inputs are not what the command declares."""
    user, space = _who(dice, world)
    scope = Scope(dice.id_at(at_us), "sample", user, space, None, None, _ASKED.draw(dice).slug)
    name, rule = FAULTY_FIELDS[dice.below(len(FAULTY_FIELDS))]
    duration_us = dice.duration_us(1500)
    return [
        CommandValidationFailed(dice.id_at(at_us), at_us, scope, 1, (FieldFault(name, rule),)),
        HttpRequestCompleted(dice.id_at(at_us), at_us, scope, SUBMIT_ROUTE, "POST", 422, duration_us, "failed"),
    ]


def edited(dice: Dice, world: World, at_us: int) -> list[Event]:
    """Somebody changes a fragment by hand."""
    user, space = _who(dice, world)
    scope = Scope(dice.id_at(at_us), "sample", user, space)
    return [FragmentUpdated(dice.id_at(at_us), at_us, scope, dice.id_at(at_us))]


def _who(dice: Dice, world: World) -> tuple[bytes, bytes]:
    """Somebody, and the space they are in; the first of them the most often."""
    user = min(dice.below(len(world.users)), dice.below(len(world.users)))
    return world.users[user], world.spaces[user % len(world.spaces)]


def _submitted(  # noqa: PLR0913 - what, when, by whom, after what
    dice: Dice, world: World, command: Command, at_us: int, who: tuple[bytes, bytes], before: bytes | None = None
) -> _Run:
    run = _Run(dice, world, command, at_us, who, before)
    took_us = dice.duration_us(2600)
    run.add(HttpRequestCompleted, at_us + took_us, SUBMIT_ROUTE, "POST", 202, took_us, "succeeded")
    run.execute()
    return run


def _answered(dice: Dice, run: _Run) -> list[Event]:
    """The chat request that an execution answers: its parts are steps of it."""
    first_us, last = min(event.occurred_at_us for event in run.events), run.events[-1]
    took = {event.step_path: event.duration_us for event in run.events if isinstance(event, (StepExecuted, StepFailed))}
    facts = (dice.id_at(first_us), _MODELS.draw(dice), last.occurred_at_us - first_us)
    parts = took.get("context"), took.get("reply")
    prompt, reply, look = dice.duration_us(900, WILD), dice.duration_us(220, WILD), _CACHE.draw(dice)

    def told(kind: type[Event], at_us: int, *what: object) -> Event:
        return kind(dice.id_at(at_us), at_us, run.scope, *what)

    started = told(ChatRequestStarted, first_us, facts[0])
    if isinstance(last, ExecutionFailed) and last.error is not None:
        return [started, told(ChatRequestFailed, last.occurred_at_us, *facts, last.error, *parts)]
    return [started, told(ChatRequestCompleted, last.occurred_at_us, *facts, *parts, prompt, reply, look)]


@dataclass
class _Run:
    """An execution from being accepted to its end.

    Attributes:
        events: What was told so far.
        now_us: When the last of it was.
        runs: Of each path that ran, whether its last run succeeded.
        skipped: Paths that did not run.
    """

    dice: Dice
    world: World
    command: Command
    now_us: int
    who: tuple[bytes, bytes]
    before: bytes | None = None
    events: list[Event] = field(default_factory=list)
    runs: dict[str, bool] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    mutations: int = 0
    running_us: int = 0
    slowest: tuple[int, str, str] = (0, "", "")

    def __post_init__(self) -> None:
        id_at, at_us = self.dice.id_at, self.now_us
        self.ids = id_at(at_us), id_at(at_us)
        self.dry_run = self.before is None and self.dice.fraction() < 0.02  # noqa: PLR2004 - one in 50
        self.scope = self._scope(0)

    def _scope(self, attempt: int) -> Scope:
        correlation_id, execution_id = self.ids
        user, space = self.who
        command = self.command
        return Scope(
            correlation_id,
            "sample",
            user,
            space,
            execution_id,
            self.before,
            command.slug,
            command.definition_hash,
            self.dry_run,
            attempt,
        )

    def add(self, kind: type[Event], at_us: int, *facts: object) -> None:
        """Tell an event."""
        self.events.append(kind(self.dice.id_at(at_us), at_us, self.scope, *facts))

    def execute(self) -> None:
        """Everything from being queued on."""
        queued_us = self.now_us = self.now_us + 900
        self.add(ExecutionQueued, queued_us, 5)
        first_wait_us = 0
        for attempt in range(1, self.command.attempts + 1):
            wait_us = self.dice.duration_us(3800, WILD)
            first_wait_us = first_wait_us or wait_us
            self.now_us += wait_us
            self.scope = self._scope(attempt)
            self.add(ExecutionStarted, self.now_us, wait_us)
            started_us = self.now_us
            error = self._attempt()
            self.now_us += 700
            self.running_us += self.now_us - started_us
            if error is None or attempt == self.command.attempts or error.error_category == "validation":
                break
            delay_us = 2_000_000 << (attempt - 1)
            self.add(ExecutionRetried, self.now_us, "failed", delay_us, None, error)
            self.now_us += delay_us
        self._end(error, first_wait_us, self.now_us - queued_us)

    def _attempt(self) -> ErrorFacts | None:
        """One attempt; what it failed with."""
        for step in self.command.steps:
            if self.runs.get(step.id) or step.id in self.skipped:
                continue  # an earlier attempt did it
            if step.skipped and step.id not in self.runs and self.dice.fraction() < step.skipped:
                self.skipped.add(step.id)
                self.add(StepSkipped, self.now_us, step.id, step.type)
                continue
            if step.items:
                self._items(step)
            elif (error := self._step(step, step.id)) is not None:
                return error
        return None

    def _items(self, step: Step) -> None:
        """A list, one run for each of its items; the list itself is over after the last."""
        count, started_us = 1 + self.dice.below(step.items), self.now_us
        failed = sum(self._step(ITEM, f"{step.id}[{number}].{ITEM.id}") is not None for number in range(count))
        self.now_us += 200
        self.runs[step.id] = True
        measures = {"items": count, "succeeded": count - failed, "failed": failed}
        self.add(StepExecuted, self.now_us, step.id, step.type, self.now_us - started_us, 1, 0, None, measures)

    def _step(self, step: Step, path: str) -> ErrorFacts | None:
        dice = self.dice
        duration_us = dice.duration_us(step.median_us, step.spread)
        self.now_us += duration_us + 250
        error = self.world.error(dice, step.type, self.now_us)
        if duration_us > self.slowest[0]:
            self.slowest = duration_us, path, step.type
        self.runs[path] = error is None
        if error is not None:
            self.add(StepFailed, self.now_us, path, step.type, duration_us, error)
            return error
        fragment_id = dice.id_at(self.now_us) if step.changes else None
        mutations = 1 if step.changes else 0
        self.add(
            StepExecuted, self.now_us, path, step.type, duration_us, 1, mutations, fragment_id, self._measures(step)
        )
        if step.changes:
            self.mutations += mutations
            if not self.dry_run:
                self.add(_CHANGED[step.changes], self.now_us, fragment_id, path)
        return None

    def _measures(self, step: Step) -> dict[str, int | float | str] | None:
        measures: dict[str, int | float | str] = dict(step.words)
        if step.measure is not None:
            name, most = step.measure
            measures[name] = self.dice.below(most + 1)
        return measures or None

    def _end(self, error: ErrorFacts | None, wait_us: int, elapsed_us: int) -> None:
        succeeded = sum(self.runs.values())
        counts = (len(self.runs), succeeded, len(self.runs) - succeeded, len(self.skipped), self.mutations)
        numbers = (self.running_us, wait_us, elapsed_us, *counts)
        slow: tuple[object, ...] = ()
        if self.running_us > _SLOW_US:
            duration_us, path, step_type = self.slowest
            slow = True, path, step_type, duration_us
        if error is None:
            self.add(ExecutionCompleted, self.now_us, *numbers, "succeeded", *slow)
        else:
            self.add(ExecutionFailed, self.now_us, *numbers, "failed", error, *slow)
