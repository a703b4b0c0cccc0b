"""`weir telemetry`: where the time of a trace went, and the events themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from api.cli.checkup import health
from api.cli.log_import import import_log
from api.cli.output import Column, Item, View, list_format, local_time, print_json, show_page
from api.cli.cleanup import cleanup
from api.cli.output import Column, Item, View, list_format, local_time, print_json, show_page
from api.cli.output import item_format as trace_format
from api.cli.pins import pin
from api.cli.quarantine import quarantine
from api.cli.remarks import failed_fields, remarks
from api.cli.samples import test
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, human_duration
from api.cli.trace_views import open_ends, spans_table, statistics, timeline
from api.cli.verify import verify
from api.cli.waterfall import render, summary
from api.client import ApiRefused, Client, segment

#: Seconds to wait for events that are still on their way to the store.
SETTLE_S = 2.0
_LOOK_EVERY_S = 0.1

_FINAL = frozenset({"command.execution.completed", "command.execution.failed", "command.execution.cancelled"})

_FIELDS = (
    "event_id", "occurred_at", "event_type", "component", "operation", "level", "correlation_id", "execution_id",
    "parent_id", "step_path", "step_id", "step_type", "command_slug", "definition_hash", "user_id", "space_id",
    "request_source", "dry_run", "attempt", "try", "duration_ms", "outcome", "error_type", "error_category",
    "error_fingerprint", "fragment_id", "mutations_count", "measures",
)  # fmt: skip


@click.group(short_help="Look at traces and events.")
def telemetry() -> None:
    """Look at traces and events."""


telemetry.add_command(import_log)
telemetry.add_command(quarantine)
telemetry.add_command(test)
telemetry.add_command(verify)
telemetry.add_command(health)
telemetry.add_command(cleanup)
telemetry.add_command(pin)


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


@telemetry.command("events")
@click.option("--component", help="Only of this component: command, dsl, fragment, http, ...")
@click.option("--event-type", help="Only of this type; a prefix such as `dsl.step` will do.")
@click.option("--level", help="Only at this level.")
@click.option("--correlation-id", help="Only of this trace.")
@click.option("--execution-id", help="Only of this execution.")
@click.option("--command", help="Only of this command.")
@click.option("--user", help="Only of this user (the plain name; what is stored is its hash).")
@click.option("--space", help="Only of this space.")
@click.option("--outcome", help="Only with this outcome.")
@click.option("--time-range", "--last", "time_range", help="As far back as this: 15m, 1h, 7d.")
@click.option("--start", help="From this instant (RFC 3339).")
@click.option("--end", help="Before this instant (RFC 3339).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_events(form: str, **query: object) -> None:
    """List stored events, newest first."""
    with open_client() as client:
        page = client.get("/api/telemetry/events", query)
    terminal = Terminal.of_stdout()
    show_page(page, _view(terminal), form, terminal)


def _where(item: Item) -> str:
    place = item["step_path"] or (item["operation"] if item["component"] == "http" else "")
    fields = failed_fields(item)
    return f"{place}: {fields}" if place and fields else place or fields


def _view(terminal: Terminal) -> View:
    def duration(item: Item) -> str:
        return human_duration(item["duration_ms"], unicode=terminal.unicode)

    def told(item: Item) -> str:
        outcome = item["outcome"]
        return f"{terminal.marks.of(outcome)} {outcome}" if outcome else ""

    return View(
        (
            Column("OCCURRED", lambda item: local_time(item["occurred_at"])),
            Column("EVENT", lambda item: item["event_type"]),
            Column("COMMAND", lambda item: item["command_slug"] or "", shrinks=True),
            Column("WHERE", _where, shrinks=True),
            Column("OUTCOME", told, tone=lambda item: item["outcome"] or ""),
            Column("DURATION", duration, right=True),
            Column("CORRELATION ID", lambda item: item["correlation_id"]),
        ),
        _FIELDS,
        "No events here. Run something (weir run todo.add -i body='buy milk'), or look further back (--last 7d).",
    )
