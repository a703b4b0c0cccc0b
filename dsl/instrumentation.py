"""The one wrapper that gives every step its timing, outcome, error facts, ledger row and event.

A step type writes none of this. The executor opens a `StepRun` before a step and closes it with what came of it; that
makes the ledger row. The row carries its event's id and every field of the event, so `events_of` builds the event from
the row alone, after the row is committed: now, or much later by whoever finds a committed row without its event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec

from dsl.command import StepSpec
from dsl.errors import StepFailed
from dsl.failed_fields import failed_fields_of
from dsl.fragment_events import fragment_event, mint_events
from dsl.records import JSON_NUL
from dsl.step import Child, Mutation, MutationEvent, Outcome, StepResult, StepRow
from telemetry.clock import Clock
from telemetry.events import (
    ErrorFacts,
    Event,
    Scope,
    StepExecuted,
    StepSkipped,
)
from telemetry.events import (
    StepFailed as StepFailedEvent,
)
from telemetry.ids import mint
from telemetry.measures import BUILT_IN, AllowedMeasures


class DescribeError(Protocol):
    """What a process may say of an exception."""

    def facts(self, error: BaseException) -> ErrorFacts:
        """For telemetry: class, category, fingerprint."""
        ...

    def details(self, error: BaseException) -> dict[str, Any]:
        """For the execution's owner: the above, the message, and what the error knows."""
        ...


class StepMeter:
    """Makes the ledger rows of one attempt at one execution, in order.

    Args:
        clock: Stamps and differences.
        attempt: Which claim this is.
        errors: Describes what a step raised.
        telemetry_on: Whether rows get event ids.
        dry_run: A dry run's mutations never happened, so they have no events of their own.
        max_output_bytes: JSON bytes of one output.
        max_total_bytes: JSON bytes of all outputs together.
        first_ordinal: Of this attempt's first row; ordinals go on over attempts.
        measures: What steps may report of themselves.
    """

    def __init__(  # noqa: PLR0913 - one collaborator or limit each
        self,
        clock: Clock,
        attempt: int,
        errors: DescribeError,
        *,
        telemetry_on: bool,
        dry_run: bool,
        max_output_bytes: int,
        max_total_bytes: int,
        first_ordinal: int = 1,
        measures: AllowedMeasures = BUILT_IN,
    ) -> None:
        self._measures = measures
        self._clock = clock
        self._attempt = attempt
        self._errors = errors
        self._telemetry_on = telemetry_on
        self._dry_run = dry_run
        self._max_output_bytes = max_output_bytes
        self._left = max_total_bytes
        self._ordinal = first_ordinal - 1
        self.totals = Totals()

    def start(self, spec: StepSpec, path: str, step_try: int = 1) -> StepRun:
        """Begin timing a step. A step that runs others is numbered before them."""
        self._ordinal += 1
        return StepRun(self, spec, path, self._ordinal, step_try, self._clock.monotonic_us())

    def encode(self, output: object) -> str:
        """A step's output as the JSON text that is kept.

        Raises:
            StepFailed: It is not JSON-able, holds what Postgres cannot keep, or is too large.
        """
        try:
            encoded = msgspec.json.encode(output)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StepFailed("the output cannot be kept as JSON") from error
        size = len(encoded)
        text = encoded.decode()
        if JSON_NUL.search(text):
            raise StepFailed("the output holds a NUL character, which cannot be kept")
        if size > self._max_output_bytes:
            raise StepFailed(
                f"the output has {size} bytes; a step may keep {self._max_output_bytes}",
                hint="Keep what later steps need, or raise WEIR_DSL_MAX_OUTPUT_BYTES.",
            )
        if size > self._left:
            raise StepFailed(
                "the outputs of this execution are too large together",
                hint="Raise WEIR_DSL_MAX_EXECUTION_OUTPUT_BYTES, or split the command.",
            )
        self._left -= size
        return text

    def _row(
        self,
        run: StepRun,
        outcome: Outcome,
        result: StepResult,
        output: str | None = None,
        error: Exception | None = None,
    ) -> StepRow:
        now_us = self._clock.unix_us()
        return StepRow(
            path=run.path,
            step_type=run.step_type,
            attempt=self._attempt,
            step_try=run.step_try,
            ordinal=run.ordinal,
            outcome=outcome,
            occurred_at_us=now_us,
            duration_us=0 if outcome == "skipped" else self._clock.monotonic_us() - run.started_us,
            output=output,
            error=None if error is None else self._errors.details(error),
            facts=None if error is None else self._errors.facts(error),
            failed_fields=() if error is None else failed_fields_of(error),
            runs_others=run.runs_others,
            mutations=result.mutations,
            fragment_id=result.fragment_id,
            measures=self._measures.allowed(result.measures),
            event_id=mint(now_us) if self._telemetry_on else None,
            mutation_events=self._mutation_events(result.mutations, now_us),
            children=tuple(self._accepted(child, now_us) for child in result.children),
            statements=result.statements,
        )

    def accepted(self, child: Child) -> Child:
        """A child that is accepted now, without a row of its step."""
        return self._accepted(child, self._clock.unix_us())

    def _accepted(self, child: Child, now_us: int) -> Child:
        return replace(child, queued_at_us=now_us, event_id=mint(now_us) if self._telemetry_on else None)

    def _mutation_events(self, mutations: tuple[Mutation, ...], now_us: int) -> tuple[MutationEvent | None, ...]:
        if not self._telemetry_on or self._dry_run:
            return (None,) * len(mutations)
        return mint_events(mutations, now_us)


class StepRun:
    """One run of one step, open until `succeeded`, `failed` or `skipped` closes it with its ledger row."""

    __slots__ = ("_meter", "ordinal", "path", "runs_others", "started_us", "step_try", "step_type")

    def __init__(  # noqa: PLR0913 - one fact each
        self, meter: StepMeter, spec: StepSpec, path: str, ordinal: int, step_try: int, started_us: int
    ) -> None:
        self._meter = meter
        self.step_type = spec.type
        self.runs_others = bool(spec.blocks)
        self.path = path
        self.ordinal = ordinal
        self.step_try = step_try
        self.started_us = started_us

    def succeeded(self, result: StepResult) -> StepRow:
        """Close it with what the step made.

        Raises:
            StepFailed: The output cannot be kept; close with `failed` then.
        """
        return self._meter._row(self, "succeeded", result, self._meter.encode(result.output))  # noqa: SLF001 - one unit

    def failed(self, error: Exception, measures: Mapping[str, int | float | str]) -> StepRow:
        """Close it with what the step raised; the exception itself goes on unchanged."""
        return self._meter._row(self, "failed", StepResult(measures=measures), error=error)  # noqa: SLF001 - one unit

    def skipped(self) -> StepRow:
        """Close it without having run."""
        return self._meter._row(self, "skipped", StepResult())  # noqa: SLF001 - one unit


class SlowestStep(NamedTuple):
    """The run of a step that took longest."""

    path: str
    step_type: str
    duration_us: int


class Totals:
    """Statistics of an attempt: distinct paths by their last run.

    Attributes:
        mutations: Rows changed.
        slowest: Of the steps that run no others, for those take the time of what they run; none when none took any.
    """

    __slots__ = ("_outcomes", "_slowest_us", "mutations", "slowest")

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._slowest_us = 0
        self.mutations = 0
        self.slowest: SlowestStep | None = None

    def add(self, row: StepRow) -> None:
        """Count a row; a later run of the same path replaces the earlier one."""
        self.count_path(row.path, row.outcome, row.mutations_count)
        if row.duration_us > self._slowest_us and not row.runs_others:
            self.time_step(SlowestStep(row.path, row.step_type, row.duration_us))

    def count_path(self, path: str, outcome: Outcome, mutations: int) -> None:
        """Count how a path ended last, and what it changed."""
        self._outcomes[path] = outcome
        self.mutations += mutations

    def time_step(self, step: SlowestStep) -> None:
        """Remember a step that runs no others, if none before took as long."""
        if step.duration_us > self._slowest_us:
            self._slowest_us = step.duration_us
            self.slowest = step

    def count(self, outcome: Outcome) -> int:
        """Paths whose last run ended so."""
        return sum(1 for last in self._outcomes.values() if last == outcome)


def events_of(scope: Scope, row: StepRow) -> Sequence[Event]:
    """The events of a committed ledger row: the step's own, then those of its fragment changes."""
    if row.event_id is None:
        return ()
    own = _step_event(scope, row, row.event_id)
    if not row.mutations:
        return (own,)
    changes = zip(row.mutations, row.mutation_events, strict=True)
    return (
        own,
        *(
            fragment_event(scope, mutation, event, row.occurred_at_us, row.path)
            for mutation, event in changes
            if event is not None
        ),
    )


def _step_event(scope: Scope, row: StepRow, event_id: bytes) -> Event:
    if row.outcome == "skipped":
        return StepSkipped(event_id, row.occurred_at_us, scope, row.path, row.step_type)
    fragment = None if row.fragment_id is None else row.fragment_id.bytes
    measures = dict(row.measures) or None
    if row.facts is not None:
        return StepFailedEvent(
            event_id,
            row.occurred_at_us,
            scope,
            row.path,
            row.step_type,
            row.duration_us,
            row.facts,
            row.step_try,
            row.mutations_count,
            fragment,
            measures,
            failed_fields=row.failed_fields,
        )
    return StepExecuted(
        event_id,
        row.occurred_at_us,
        scope,
        row.path,
        row.step_type,
        row.duration_us,
        row.step_try,
        row.mutations_count,
        fragment,
        measures,
    )
