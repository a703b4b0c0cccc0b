"""`weir schedules`: what runs by itself, when, and what became of each due time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from api.cli.completion import slugs
from api.cli.instants import instant_of
from api.cli.options import together
from api.cli.output import Column, Item, View, item_format, list_format, local_time, one_line, print_json, show_page
from api.cli.refusals import fault_line
from api.cli.run import coerce_inputs, read_inputs
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, human_duration, plural
from api.client import Client, segment

_FIELDS = (
    "name", "command", "state", "declared", "timing", "timezone", "misfire", "window", "overlap", "pause_after",
    "next_due_at", "paused_at", "pause_reason", "id",
)  # fmt: skip
_OCCURRENCE_FIELDS = (
    "due_at", "last_due_at", "due_times", "origin", "state", "reason", "occurred_at", "lateness_ms", "command",
    "execution_id", "correlation_id",
)  # fmt: skip

#: Words of a schedule that options give as they are.
_WORDS = ("cron", "every", "anchor", "at", "timezone", "jitter", "misfire", "window", "overlap", "user", "space")

_NEXT_VIEW = View(
    (
        Column("DUE", lambda item: local_time(item["due_at"])),
        Column("THERE", "local_time"),
        Column("WITH JITTER", lambda item: local_time(item["fire_at"])),
    ),
    ("due_at", "local_time", "fire_at"),
    "It is never due again.",
)


@click.group(short_help="Run commands by themselves, and see what became of it.")
def schedules() -> None:
    """Run commands by themselves: by cron, every so often, or once. SCHEDULE is a name or an id."""


#: The options that say when and how; those that are not given are left alone.
_words = together(
    click.option("--cron", help="Five fields, six with the second first, or an alias such as @daily."),
    click.option("--every", metavar="DURATION", help="Or an interval of elapsed time: 15m."),
    click.option("--anchor", metavar="TIME", help="From where intervals are counted."),
    click.option("--at", metavar="TIME", help="Or the one time: 2026-03-01T09:00, in the zone."),
    click.option("--timezone", metavar="ZONE", help="Zone of the IANA database; UTC unless given."),
    click.option("--jitter", metavar="DURATION", help="Put each due time off by less than this."),
    click.option("--misfire", type=click.Choice(["skip", "latest", "all"]), help="For due times that passed."),
    click.option("--window", metavar="DURATION", help="How old they may be and still be run; 1d unless given."),
    click.option("--overlap", type=click.Choice(["allow", "skip", "queue"]), help="While an execution runs."),
    click.option("--pause-after", type=click.IntRange(0, 1000), help="Failures in a row that pause it; 0 is never."),
    click.option("-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="One input of the command."),
    click.option(
        "--input-file", type=click.Path(path_type=Path), help="A JSON object of inputs; `-` reads standard input."
    ),
    click.option("--user", help="On whose behalf."),
    click.option("--space", help="Which space it works in."),
    click.option("--priority", type=click.IntRange(0, 9), help="0 is the most urgent, 9 the least."),
)


@schedules.command("list")
@click.option("--command", shell_complete=slugs, help="Only those of this command.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_schedules(command: str | None, limit: int, cursor: str | None, form: str) -> None:
    """List schedules, newest first."""
    with open_client() as client:
        page = client.get("/api/schedules", {"command": command, "limit": limit, "cursor": cursor})
    show_page(page, _VIEW, form, Terminal.of_stdout())


@schedules.command("show")
@click.argument("schedule")
@item_format
def show_schedule(schedule: str, form: str) -> None:
    """Show SCHEDULE and its next five due times."""
    with open_client() as client:
        _show(client.get(_path(schedule)), form)


@schedules.command("create")
@click.argument("name")
@click.argument("command")
@_words
@item_format
def create_schedule(name: str, command: str, form: str, **words: Any) -> None:  # noqa: ANN401 - one per option
    """Have COMMAND run by itself, as the schedule NAME.

    Exactly one of --cron, --every and --at says when.
    """
    with open_client() as client:
        body = {"name": name, "command": command, **_body(client, command, words)}
        _show(client.post("/api/schedules", body).body, form)


@schedules.command("update")
@click.argument("schedule")
@click.option("--name", help="Another name.")
@click.option("--command", shell_complete=slugs, help="Another command.")
@_words
@item_format
def update_schedule(schedule: str, name: str | None, command: str | None, form: str, **words: Any) -> None:  # noqa: ANN401 - as above
    """Change what is given of SCHEDULE; with another timing it goes on with the next due time from now."""
    with open_client() as client:
        path = _path(schedule)
        slug = command or (client.get(path)["command"] if words["pairs"] else "")
        given = {key: value for key, value in (("name", name), ("command", command)) if value is not None}
        _show(client.patch(path, {**given, **_body(client, slug, words)}), form)


@schedules.command("delete")
@click.argument("schedule")
@item_format
def delete_schedule(schedule: str, form: str) -> None:
    """Remove SCHEDULE; its history stays, and is found by its id."""
    with open_client() as client:
        removed = client.delete(_path(schedule))
    if form == "json":
        print_json(removed)
        return
    print(f"{clean(removed['name'])} is removed; weir schedules occurrences {removed['id']} shows its history")


@schedules.command("pause")
@click.argument("schedule")
@item_format
def pause_schedule(schedule: str, form: str) -> None:
    """Run nothing of SCHEDULE until it is resumed."""
    with open_client() as client:
        _show(client.post(f"{_path(schedule)}/pause", {}).body, form)


@schedules.command("resume")
@click.argument("schedule")
@item_format
def resume_schedule(schedule: str, form: str) -> None:
    """Go on with the next due time from now; those meanwhile are skipped."""
    with open_client() as client:
        _show(client.post(f"{_path(schedule)}/resume", {}).body, form)


@schedules.command("run")
@click.argument("schedule")
@item_format
def run_schedule(schedule: str, form: str) -> None:
    """Run SCHEDULE now, whatever its calendar, pause and overlap say; prints the execution's id and does not wait."""
    with open_client() as client:
        occurrence = client.post(f"{_path(schedule)}/run", {}).body
    print_json(occurrence) if form == "json" else print(occurrence["execution_id"])


@schedules.command("next")
@click.argument("schedule")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many.")
@list_format
def next_runs(schedule: str, count: int, form: str) -> None:
    """List the next due times of SCHEDULE, by this machine's clock and by that of its zone."""
    with open_client() as client:
        page = client.get(f"{_path(schedule)}/next", {"count": count})
    show_page(page, _NEXT_VIEW, form, Terminal.of_stdout())


@schedules.command("occurrences")
@click.argument("schedule")
@click.option("--state", help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def occurrences(schedule: str, state: str | None, limit: int, cursor: str | None, form: str) -> None:
    """List what became of the due times of SCHEDULE, newest first."""
    with open_client() as client:
        page = client.get(f"{_path(schedule)}/occurrences", {"state": state, "limit": limit, "cursor": cursor})
    terminal = Terminal.of_stdout()
    empty = "Nothing was due yet." if state is None else f"No due time is {clean(state)}."
    show_page(page, _occurrences_view(terminal, empty), form, terminal)


@schedules.command("backfill")
@click.argument("schedule")
@click.option("--from", "start", required=True, metavar="TIME", help="From: 2026-03-01T09:00, or how long ago: 2h.")
@click.option("--to", "end", metavar="TIME", help="Before; written alike; now unless given.")
@click.option("--preview", is_flag=True, help="Only say which due times would be run.")
@item_format
def backfill(schedule: str, start: str, end: str | None, preview: bool, form: str) -> None:
    """Run the due times of SCHEDULE in a range that passed and were not run; at most 1,000 at a time."""
    body: dict[str, Any] = {"start": instant_of(start, "--from"), "preview": preview}
    if end is not None:
        body["end"] = instant_of(end, "--to")
    if end is not None and datetime.fromisoformat(body["start"]) >= datetime.fromisoformat(body["end"]):
        message = "the range ends before it begins: give an instant after --from"
        raise click.BadParameter(message, param_hint="--to")
    with open_client() as client:
        found = client.post(f"{_path(schedule)}/backfill", body).body
    if form == "json":
        print_json(found)
        return
    verb = "would be run" if preview else "run"
    before = f"; {found['run_before']} were run before" if found["run_before"] else ""
    print(f"{plural(found['count'], 'due time')} {verb}{_between(found)}{before}")
    if found["paused"] and found["count"]:
        print(f"The schedule is paused: what waits its turn runs after weir schedules resume {clean(schedule)}")


def _between(found: Item) -> str:
    """Which due times a backfill runs."""
    if not found["count"]:
        return ""
    first, last = local_time(found["first"]), local_time(found["last"])
    return f": {first}" if first == last else f": {first} to {last}"


def _body(client: Client, slug: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of a schedule."""
    body = {name: words[name] for name in (*_WORDS, "priority") if words[name] is not None}
    if words["pause_after"] is not None:
        body["pause_after"] = words["pause_after"] or None
    inputs = read_inputs(words["input_file"]) | coerce_inputs(client, slug, words["pairs"])
    if inputs or words["input_file"] is not None:
        body["inputs"] = inputs
    return body


def _path(schedule: str) -> str:
    return f"/api/schedules/{segment(schedule)}"


def _show(schedule: Item, form: str) -> None:
    if form == "json":
        print_json(schedule)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{clean(schedule['name'])} {_state(schedule)}", _tone(schedule))
    declared = " (declared by its file)" if schedule["declared"] else ""
    facts = [
        ("id", schedule["id"]),
        ("command", f"{schedule['command']}{declared}"),
        ("when", schedule["timing"] + (f", up to {schedule['jitter']} later" if schedule["jitter"] else "")),
        ("misfire", f"{schedule['misfire']}, within {schedule['window']}"),
        ("overlap", schedule["overlap"]),
        ("pause after", plural(schedule["pause_after"], "failure") if schedule["pause_after"] else "never"),
        ("asked by", f"{schedule['user']} in space {schedule['space']}, priority {schedule['priority']}"),
        (
            "inputs",
            ", ".join(f"{key}={one_line(schedule['inputs'][key])}" for key in sorted(schedule["inputs"])) or "none",
        ),
    ]
    for label, value in facts:
        terminal.say(f"{label:<12} {clean(value)}")
    for number, run in enumerate(schedule["next_runs"]):
        label = "next" if schedule["state"] != "paused" else "if resumed"
        terminal.say(f"{'' if number else label:<12} {local_time(run['due_at'])}  {run['local_time']}")
    if schedule["wrong_inputs"]:
        terminal.say(
            clean(f"{schedule['command']} does not take these inputs; the next due time would be skipped:"), "failed"
        )
    for fault in schedule["wrong_inputs"]:
        terminal.say(clean(f"  {fault_line(fault)}"), "failed")


def _state(schedule: Item) -> str:
    why = {"failures": " after failures", "asked": ""}.get(schedule["pause_reason"] or "", "")
    return f"{schedule['state']}{why}"


def _tone(schedule: Item) -> str:
    return {"active": "succeeded", "paused": "running"}.get(schedule["state"], "")


_VIEW = View(
    (
        Column("NAME", "name", shrinks=True),
        Column("COMMAND", "command", shrinks=True),
        Column("STATE", _state, tone=_tone),
        Column("WHEN", "timing", shrinks=True),
        Column("NEXT", lambda item: local_time(item["next_due_at"])),
    ),
    _FIELDS,
    "There are no schedules. Try: weir schedules create daily digest.daily --cron '0 8 * * *'",
)

_TONES = {"fired": "succeeded", "caught_up": "succeeded", "late": "running", "waiting": "running", "missed": "failed"}


def _occurrences_view(terminal: Terminal, empty: str) -> View:
    def due(item: Item) -> str:
        until = f" to {local_time(item['last_due_at'])} ({item['due_times']})" if item["due_times"] > 1 else ""
        return f"{local_time(item['due_at'])}{until}"

    return View(
        (
            Column("DUE", due),
            Column("STATE", "state", tone=lambda item: _TONES.get(item["state"], "")),
            Column("WHY", lambda item: item["reason"] or ("" if item["origin"] == "calendar" else item["origin"])),
            Column("LATE", lambda item: human_duration(item["lateness_ms"], unicode=terminal.unicode), right=True),
            Column("EXECUTION", lambda item: item["execution_id"] or ""),
        ),
        _OCCURRENCE_FIELDS,
        empty,
    )
