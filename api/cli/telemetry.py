"""`weir telemetry`: where the time of a trace went, and the events themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from api.cli.analytics import analytics, spikes
from api.cli.checkup import health
from api.cli.cleanup import cleanup
from api.cli.error_groups import errors
from api.cli.event_query import query
from api.cli.export import export
from api.cli.live import live
from api.cli.log_import import import_log
from api.cli.metrics import metrics
from api.cli.output import Item, print_json
from api.cli.overview import overview
from api.cli.pager import paged
from api.cli.performance import performance
from api.cli.pins import pin
from api.cli.quarantine import quarantine
from api.cli.remarks import remarks
from api.cli.rollup import rollup
from api.cli.samples import test
from api.cli.stats import stats
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean
from api.cli.trace_views import open_ends, spans_table, statistics, timeline
from api.cli.verify import verify
from api.cli.waterfall import render, summary
from api.client import ApiRefused, Client, segment

#: Seconds to wait for events that are still on their way to the store.
SETTLE_S = 2.0
_LOOK_EVERY_S = 0.1

_FINAL = frozenset({"command.execution.completed", "command.execution.failed", "command.execution.cancelled"})


@click.group(short_help="Look at traces and events.")
def telemetry() -> None:
    """Look at traces and events."""


telemetry.add_command(overview)
telemetry.add_command(performance)
telemetry.add_command(analytics)
telemetry.add_command(spikes)
telemetry.add_command(stats)
telemetry.add_command(import_log)
telemetry.add_command(quarantine)
telemetry.add_command(test)
telemetry.add_command(verify)
telemetry.add_command(rollup)
telemetry.add_command(health)
telemetry.add_command(live)
telemetry.add_command(metrics)
telemetry.add_command(cleanup)
telemetry.add_command(pin)
telemetry.add_command(query)
telemetry.add_command(errors)
telemetry.add_command(query, "events")
telemetry.add_command(export)


@telemetry.command("trace", short_help="Show all that belongs to an id: where the time went.")
@click.argument("trace_id", metavar="ID")
@click.option("--all", "show_all", is_flag=True, help="Every item of long lists (of a waterfall).")
@click.option("--stats", is_flag=True, help="And how much time each type took, of all and of the critical path.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["waterfall", "table", "timeline", "json"]),
    default="waterfall",
    show_default=True,
    help="Spans drawn over time, spans as a table, events one after the other, or everything.",
)
@paged
def trace(trace_id: str, show_all: bool, stats: bool, form: str) -> None:
    """Show the trace of a correlation id, or of the id of an execution, an event or a fragment.

    Waits up to 2 s for events that are still on their way. The critical path is what had to be shorter for the whole to
    be shorter.
    """
    with open_client() as client:
        found = settled_trace(client, trace_id)
    if form == "json":
        print_json(found)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"trace {found['correlation_id']}: {summary(found['items'], unicode=terminal.unicode)}")
    for text, tone in remarks(found["items"], unicode=terminal.unicode):
        terminal.say(text, tone)
    for text in open_ends(found):
        terminal.say(clean(text), "running")
    if form == "waterfall":
        states = {each["id"]: each["why_open"] for each in found["executions"] if each["why_open"]}
        drawn = render(found["items"], terminal.width, unicode=terminal.unicode, show_all=show_all, states=states)
        for line in drawn:
            terminal.say(line.text, line.tone)
    else:
        for row in (spans_table if form == "table" else timeline)(found, terminal):
            terminal.say(row)
    if stats:
        terminal.say("")
        for row in statistics(found, terminal):
            terminal.say(row)


def settled_trace(client: Client, trace_id: str, *, within_s: float = SETTLE_S) -> Item:
    """The trace, as soon as all that can be expected of it is stored, or as it is after `within_s`.

    Raises:
        ApiRefused: There is no such trace even then.
    """
    deadline = time.monotonic() + within_s
    while True:
        is_last = time.monotonic() >= deadline
        try:
            found: Item = client.get(f"/api/telemetry/traces/{segment(trace_id)}")
        except ApiRefused as refused:
            if refused.problem.get("code") != "telemetry.trace_not_found" or is_last:
                raise
        else:
            if is_last or is_complete(found["items"]):
                return found
        time.sleep(_LOOK_EVERY_S)


def is_complete(events: Sequence[Item]) -> bool:
    """Whether every execution seen has ended, with all the steps its last event counts, and so has its request."""
    executions = {event["execution_id"] for event in events if event["execution_id"]}
    from_outside = any(event["request_source"] in {"api", "cli"} for event in events)
    if from_outside and not any(event["component"] == "http" for event in events):
        return False
    for execution_id in executions:
        own = [event for event in events if event["execution_id"] == execution_id]
        final = next((event for event in own if event["event_type"] in _FINAL), None)
        if final is None:
            return False
        counted = (final["measures"] or {}).get("steps_executed", 0) + (final["measures"] or {}).get("steps_skipped", 0)
        paths = {event["step_path"] for event in own if event["component"] == "dsl"}
        if len(paths) < counted or not any(event["event_type"] == "command.execution.queued" for event in own):
            return False
    return True
