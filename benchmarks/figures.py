"""Every figure: its unit, its target, what it is measured against; and the table and file they are shown in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured.

    Attributes:
        name: Key in `results.json`.
        unit: Of the value and of the reference.
        measured: In a few words, what the value is of.
        reference: In a few words, what it is compared with.
        at_most: The target, where less is better.
        at_least: The target, where more is better.
    """

    name: str
    unit: str
    measured: str
    reference: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        """As it is shown: `<= 2`."""
        if self.at_most is not None:
            return f"<= {shown(self.at_most)}"
        return "" if self.at_least is None else f">= {shown(self.at_least)}"

    def is_met(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out.

    Attributes:
        value: Median over the rounds, in the figure's unit.
        reference: Of the same run, in the same unit.
        ratio: Value over reference.
    """

    value: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.value / self.reference


FIGURES: tuple[Figure, ...] = (
    Figure("record_us_p50", "us", "building one event and record(), on the caller", "one structlog JSON line", 2),
    Figure("record_us_cpu", "us", "the same, CPU of all threads until the stream has it", "one structlog JSON line", 6),
    Figure("step_overhead_us_p50", "us", "what telemetry adds to one light step", "the step without telemetry", 500),
    Figure("command_overhead_us_p50", "us", "what it adds to a 5-step command", "the command without telemetry", 25),
    Figure("submit_overhead_us_p50", "us", "what it adds to a submission", "the same two INSERTs, bare", 2000),
    Figure("memory_per_execution_bytes", "B", "events of a 5-step execution, not yet flushed", "encoded bytes", 2048),
    Figure("sink_events_per_s", "1/s", "stream to Postgres, one sink", "pre-encoded binary COPY", at_least=100_000),
    Figure("sink_share_of_copy", "", "the same, as a share of pre-encoded COPY", "all of it", at_least=0.6),
    Figure("bytes_per_event", "B", "heap and indexes of a stored event", "the event as JSON text", 360),
    Figure("malformed_rate", "x", "one malformed event in 1,000, events/s", "none", at_least=0.9),
    Figure("lag_ms_p50", "ms", "event to stored row, at 5,000 events/s", "at 100 events/s", 200),
    Figure("lag_ms_p99", "ms", "the same, 99th percentile", "at 100 events/s", 500),
    Figure("sink_cpu_percent", "%", "CPU of the sink at 5,000 events/s, of one core", "at 100 events/s", 25),
    Figure("stream_cut_command", "x", "a 5-step command while the stream is silent", "before", 1.1),
    Figure(
        "executions_per_s", "1/s", "5 light steps, 2 workers, events stored", "bare Dramatiq, 2 commits", at_least=800
    ),
    Figure(
        "executions_db_per_s", "1/s", "5 fragment.create, 2 workers, likewise", "bare Dramatiq, 7 commits", at_least=300
    ),
    Figure(
        "executions_commits_per_s",
        "1/s",
        "5 steps that commit each, likewise",
        "bare Dramatiq, 7 commits",
        at_least=300,
    ),
    Figure("light_steps_ms_p50", "ms", "40 light steps in one execution", "the same steps, bare calls", 60),
    Figure("lane_latency_ms_p50", "ms", "5 light steps while another lane is saturated", "while it is idle", 30),
    Figure("flat_execution", "x", "an execution where 100,000 are stored", "where 1,000 are", 1.3),
    Figure("flat_page", "x", "a page of 10 of them, the worst of four", "where 1,000 are", 1.5),
    Figure("flat_tick", "x", "what the scheduler does each second", "where 1,000 are", 1.3),
    Figure("import_notes_per_s", "1/s", "`weir fragments import` of 10,000 notes", "executemany, bare", at_least=1000),
    Figure("import_peak_mb", "MB", "most memory of that command", "with a tenth of the notes", 60),
    Figure("template_cpu_ms", "ms", "the most CPU of any template of 10 kB tried", "the work counted for it", 100),
    Figure("template_memory_mb", "MB", "the most memory of any, beside its values", "what any may reckon with", 20),
    Figure("idle_latency_ms_p50", "ms", "HTTP request to final state seen, idle stack", "GET /readyz, same stack", 15),
    Figure("idle_latency_ms_p95", "ms", "the same, 95th percentile", "GET /readyz, p95", 30),
    Figure("idle_pss_mb", "MB", "memory (PSS) of the whole idle stack", "its Python processes, unshared", 400),
    Figure("idle_cpu_percent", "%", "CPU of the whole idle stack, of one core", "one bare Dramatiq worker, idle", 3),
)

#: Every figure's name, in the order of the table.
NAMES: tuple[str, ...] = tuple(figure.name for figure in FIGURES)


def shown(number: float) -> str:
    """Three digits that count, thousands apart: `1,234`, `12.3`, `0.61`."""
    if abs(number) >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def table(results: Mapping[str, Measured]) -> str:
    """The figures that were measured, one a line."""
    heading = ("figure", "value", "unit", "target", "", "reference", "ratio", "what was measured, against what")
    rows: list[Sequence[str]] = [heading]
    for figure in FIGURES:
        if figure.name in results:
            found = results[figure.name]
            verdict = "met" if figure.is_met(found.value) else "MISSED"
            numbers = (shown(found.reference), f"{found.ratio:.3g}", f"{figure.measured}; {figure.reference}")
            rows.append((figure.name, shown(found.value), figure.unit, figure.target, verdict, *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = (1, 3, 5, 6)
    lines = (
        "  ".join(
            cell.rjust(width) if place in numeric else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def document(results: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """The figures as `results.json` has them: `{name: {value, unit, reference, ratio}}`."""
    return {
        figure.name: {
            "value": results[figure.name].value,
            "unit": figure.unit,
            "reference": results[figure.name].reference,
            "ratio": results[figure.name].ratio,
        }
        for figure in FIGURES
        if figure.name in results
    }


def write(results: Mapping[str, Measured], path: Path) -> None:
    """Write `document` to a file."""
    path.write_text(json.dumps(document(results), indent=2) + "\n", encoding="utf-8")
