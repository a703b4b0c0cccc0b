"""`weir telemetry overview`: what went on, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from api.cli.error_groups import sparkline
from api.cli.event_options import explained, filter_options, usual_time
from api.cli.output import Column, Item, item_format, local_time, print_json, table
from api.cli.pager import paged
from api.cli.target import open_client
from api.cli.terminal import Terminal, cells, clean, human_duration, plural
from api.cli.timing_lines import remark_on_percentiles, shown_percent, timing_columns

#: Columns before what a line says, and what is between two facts of one.
_LABEL, _GAP = 12, "   "

#: A line, and its colour.
Line = tuple[str, str]


@click.command("overview", short_help="Show what went on: executions, rates, what is slow, what fails.")
@usual_time("1h")
@filter_options
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True, help="Lines of each list.")
@item_format
@paged
def overview(form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Show on one screen what went on: executions and what became of them, rates, what took longest, what failed last.

    Counts and durations are of events of that time; what runs and waits is of this moment; health is what the last
    check-up found (every five minutes; `weir telemetry health` looks now). Each list has a command of its own: `weir
    telemetry performance`, `errors`, `stats`, `query`.
    """
    with explained(query["filter"]), open_client() as client:
        told = client.get("/api/telemetry/overview", query)
    if form == "json":
        print_json(told)
        return
    terminal = Terminal.of_stdout()
    for text, tone in _lines(told, terminal):
        terminal.say(text, tone)
    if told["commands"] or told["step_types"]:
        remark_on_percentiles(told)


def _lines(told: Item, terminal: Terminal) -> Iterator[Line]:
    """All of the screen."""
    yield f"{local_time(told['start'])} to {local_time(told['end'])}", "bold"
    yield from _executions(told, terminal)
    yield from _standing(told, terminal)
    if not told["events"]:
        yield "", ""
        yield "No events here. Look further back (--last 7d), or store samples: weir telemetry test", "dim"
        return
    for title, key in (("SLOWEST COMMANDS", "commands"), ("SLOWEST STEPS", "step_types")):
        yield from _table(told[key], timing_columns(title, terminal), terminal)
    yield from _table(told["components"], _COMPONENTS, terminal)
    yield from _table(told["newest_errors"], _errors(terminal), terminal)


def _executions(told: Item, terminal: Terminal) -> Iterator[Line]:
    counts, took = told["executions"], told["executions"]["took"]
    said = [f"{counts[name]:,} {name}" for name in ("queued", "started", "succeeded", "failed") if name in counts]
    said += [f"{counts[name]:,} {name}" for name in ("cancelled", "retried", "refused") if counts[name]]
    yield from _said("executions", said, terminal)
    if counts["success_percent"] is not None:
        rates = [f"{shown_percent(counts['success_percent'])} succeeded", f"{_rate(counts['per_minute'])} a minute"]
        yield from _said("rates", rates, terminal)
    if took is not None:
        spans = [f"{name} {_duration(took[f'{name}_ms'], terminal)}" for name in ("p50", "p95", "p99", "max")]
        yield from _said("took", spans, terminal)
    yield from _called(told, terminal)
    if told["now"] is not None:
        yield from _said("now", _now(told["now"], terminal), terminal)
    if told["events"]:
        spread = told["spread"]
        for name, of in (("done", "executions"), ("failed", "failures")):
            if any(spread[of]):
                bars = sparkline(spread[of], unicode=terminal.unicode)
                yield f"{name:<{_LABEL}}{bars}  at most {max(spread[of]):,} in {_stretch(told, terminal)}", ""


def _called(told: Item, terminal: Terminal) -> Iterator[Line]:
    """What was asked of tools and of models."""
    for key in ("tools", "models"):
        lines = told[key]
        if lines:
            count, failures = (sum(line[name] for line in lines) for name in ("count", "failures"))
            slowest = max(line["p95_ms"] for line in lines)
            said = [f"{count:,} calls", f"{failures:,} failed", f"p95 {_duration(slowest, terminal)}"]
            yield from _said(key, said, terminal)


def _now(now: Item, terminal: Terminal) -> list[str]:
    said = [f"{now['running']:,} running", f"{now['queued']:,} waiting"]
    if now["oldest_wait_ms"] is not None:
        said[-1] += f" (for {_duration(now['oldest_wait_ms'], terminal)})"
    return said + ([f"{now['scheduled']:,} due later"] if now["scheduled"] else [])


def _standing(told: Item, terminal: Terminal) -> Iterator[Line]:
    """How telemetry itself is: complete, in time, healthy."""
    wrong = [f"{name}: {state}" for name, state in told["completeness"].items() if state != "ok"]
    events = [f"{told['events']:,} stored", f"{told['errors']:,} errors", "complete" if not wrong else "; ".join(wrong)]
    health = told["health"]
    if health is not None and health["lag_s"] is not None:
        lag = human_duration(health["lag_s"] * 1000, unicode=terminal.unicode)
        events.append(f"lag {lag}" if health["lag_s"] else "no lag")
    yield from _said("events", events, terminal, "slow" if wrong else "")
    if health is None:
        yield from _said("health", ["no check-up is stored yet; weir telemetry health looks now"], terminal, "dim")
        return
    bad = [_problem(each) for each in health["problems"]]
    from telemetry.clock import SystemClock

    # Before this moment, whatever time is asked about.
    ago = (SystemClock().now() - datetime.fromisoformat(health["checked_at"])).total_seconds()
    when = f"{_duration(ago * 1000, terminal)} ago" if ago > 0 else local_time(health["checked_at"])
    said = [str(health["status"]), *(bad or [f"all of {plural(health['checks'], 'check')}"]), when]
    tone = {"healthy": "succeeded", "critical": "failed"}.get(health["status"], "slow")
    yield from _said("health", said, terminal, tone)


def _problem(found: Item) -> str:
    """`sink of telemetry: warning`; of a check that is called as its component is, that once."""
    name, component = found["name"], found["component"]
    return f"{name}: {found['status']}" if name == component else f"{name} of {component}: {found['status']}"


def _table(items: list[Item], columns: Any, terminal: Terminal) -> Iterator[Line]:  # noqa: ANN401 - as table takes them
    if items:
        yield "", ""
        yield from ((line, "") for line in table(items, columns, terminal))


def _said(label: str, facts: list[str], terminal: Terminal, tone: str = "") -> Iterator[Line]:
    """A label and its facts; those that the terminal has no room for go below."""
    line = f"{label:<{_LABEL}}{clean(facts[0])}"
    for fact in map(clean, facts[1:]):
        if terminal.interactive and cells(line) + len(_GAP) + cells(fact) > terminal.width:
            yield line, tone
            line = " " * _LABEL + fact
        else:
            line += _GAP + fact
    yield line, tone


def _rate(per_minute: float) -> str:
    return f"{per_minute:,.0f}" if per_minute >= _WHOLE_FROM else f"{per_minute:.2g}"


_WHOLE_FROM = 10


def _stretch(told: Item, terminal: Terminal) -> str:
    return _duration(told["spread"]["step_s"] * 1000, terminal)


def _duration(duration_ms: float, terminal: Terminal) -> str:
    return human_duration(duration_ms, unicode=terminal.unicode)


_COMPONENTS = (
    Column("COMPONENT", "component", shrinks=True, least=14),
    Column("EVENTS", lambda item: f"{item['events']:,}", right=True),
    Column(
        "ERRORS", lambda item: f"{item['errors']:,}", right=True, tone=lambda item: "failed" if item["errors"] else ""
    ),
    Column("ERROR RATE", lambda item: shown_percent(item["error_percent"]), right=True),
    Column("A MINUTE", lambda item: _rate(item["per_minute"]), right=True),
)


def _errors(terminal: Terminal) -> tuple[Column, ...]:
    def where(item: Item) -> str:
        return ", ".join(item["commands"] or item["step_types"])

    return (
        Column("NEWEST ERRORS", lambda item: item["error_type"] or "", shrinks=True, least=14, tone=lambda _: "failed"),
        Column("COUNT", lambda item: f"{item['count']:,}", right=True),
        Column("WHERE", where, shrinks=True),
        Column("LAST", lambda item: local_time(item["last_at"])),
        Column("OVER TIME", lambda item: sparkline(item["spread"], unicode=terminal.unicode), leaves=1),
    )
