"""A trace as something else than a waterfall: spans as a table, events as a timeline, sums by type. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from api.cli.output import Column, Item, table
from api.cli.remarks import failed_fields
from api.cli.terminal import Terminal, human_duration

#: What an open span is called, by why it is open.
_OPEN = {
    "queued": "waits in the queue",
    "scheduled": "is not due yet",
    "waiting": "waits for children",
    "running": "still running",
    "worker_lost": "its worker is lost",
    "event_missing": "its end was not told",
}


def spans_table(trace: Item, terminal: Terminal) -> list[str]:
    """A line a span, parents before their children."""
    waited = _durations("wait_ms", terminal)
    columns = (
        Column("NAME", lambda span: f"{'  ' * span['depth']}{span['name']}", shrinks=True, least=16),
        Column("TYPE", "type", shrinks=True, leaves=2),
        Column("AFTER", _durations("offset_ms", terminal), right=True, leaves=1),
        Column("DURATION", _durations("duration_ms", terminal), right=True),
        Column("WAITED", lambda span: waited(span) if span["wait_ms"] else "", right=True, leaves=3),
        Column("OUTCOME", lambda span: _outcome(span, terminal), tone=_tone),
    )
    return table(trace["spans"], columns, terminal)


def timeline(trace: Item, terminal: Terminal) -> list[str]:
    """A line an event, in the order they occurred, each with how long after the beginning that was."""
    began = datetime.fromisoformat(trace["started_at"])

    def after(event: Item) -> str:
        occurred = datetime.fromisoformat(event["occurred_at"])
        return human_duration((occurred - began) / timedelta(milliseconds=1), unicode=terminal.unicode)

    columns = (
        Column("AFTER", after, right=True),
        Column("EVENT", "event_type"),
        Column("COMMAND", lambda event: event["command_slug"] or "", shrinks=True, leaves=2),
        Column("WHERE", _where, shrinks=True),
        Column("TOOK", _durations("duration_ms", terminal), right=True, leaves=1),
        Column("OUTCOME", lambda event: _outcome(event, terminal), tone=_tone),
    )
    return table(trace["items"], columns, terminal)


def statistics(trace: Item, terminal: Terminal) -> list[str]:
    """Sums by kind and type, that with the most time of its own first."""
    whole = trace["duration_ms"] or 1

    def share(sums: Item) -> str:
        return f"{100 * sums['critical_ms'] / whole:.0f} %"

    columns = (
        Column("TYPE", lambda sums: sums["type"] or sums["kind"], shrinks=True),
        Column("COUNT", lambda sums: str(sums["count"]), right=True),
        Column("FAILED", lambda sums: str(sums["failed"] or ""), right=True, leaves=3),
        Column("TOTAL", _durations("total_ms", terminal), right=True, leaves=2),
        Column("OWN TIME", _durations("self_ms", terminal), right=True),
        Column("LONGEST", _durations("max_ms", terminal), right=True, leaves=1),
        Column("OF CRITICAL PATH", share, right=True),
    )
    return table(trace["statistics"], columns, terminal)


def open_ends(trace: Item) -> Iterator[str]:
    """A sentence for each execution that has not ended, and one for steps whose end was not told."""
    for execution in trace["executions"]:
        if execution["why_open"] is not None and execution["correlation_id"] == trace["correlation_id"]:
            yield f"{execution['command']} has not ended: {_OPEN[execution['why_open']]}"
    untold = sum(span["why_open"] == "event_missing" for span in trace["spans"])
    if untold:
        yield f"the end of {untold} of the steps was not told: weir telemetry verify says whether events are missing"


def _durations(field: str, terminal: Terminal) -> Callable[[Item], str]:
    def cell(item: Item) -> str:
        return human_duration(item[field], unicode=terminal.unicode)

    return cell


def _where(event: Item) -> str:
    place = event["step_path"] or (event["operation"] if event["component"] == "http" else "")
    fields = failed_fields(event)
    return f"{place}: {fields}" if place and fields else place or fields


def _outcome(item: Item, terminal: Terminal) -> str:
    if item.get("why_open") is not None:
        return _OPEN[item["why_open"]]
    outcome = item["outcome"]
    error = f" ({item['error_type']})" if item["error_type"] else ""
    return f"{terminal.marks.of(outcome)} {outcome}{error}" if outcome else ""


def _tone(item: Item) -> str:
    return item["outcome"] or ""
