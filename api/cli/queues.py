"""`weir queues`: what waits in each lane, and what holds it up."""

from __future__ import annotations

from typing import Any

import click

from api.cli.dead_letters import dead
from api.cli.options import together
from api.cli.output import Column, Item, View, item_format, list_format, local_time, print_json, show_page
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, human_duration
from api.cli.times import instant, span
from api.client import segment

_FIELDS = ("lane", "queued", "due", "scheduled", "running", "workers", "oldest_age_ms", "paused", "limits")


@click.group(short_help="Look at what waits or failed for good, hold it up, set limits.")
def queues() -> None:
    """Look at what waits in each lane, hold it up, set what it may not exceed; deal with what failed for good."""


queues.add_command(dead)


#: How long a pause lasts, and on whose behalf it is.
pause_options = together(
    click.option("--for", "duration", metavar="DURATION", help="It ends by itself after this: 30m."),
    click.option(
        "--until", metavar="TIME", help="Or then, if that is first: 2026-03-01T09:00, here or with an offset."
    ),
    click.option("--user", help="On whose behalf."),
)


@queues.command("list")
@list_format
def list_queues(form: str) -> None:
    """List every lane: what waits there, for how long, and what holds it up."""
    with open_client() as client:
        page = client.get("/api/queues")
    terminal = Terminal.of_stdout()
    show_page(page, _view(terminal), form, terminal)


@queues.command("show")
@click.argument("lane")
@item_format
def show_queue(lane: str, form: str) -> None:
    """Show LANE."""
    with open_client() as client:
        _show(client.get(_path(lane)), form)


@queues.command("pause")
@click.argument("lane")
@pause_options
@item_format
def pause_queue(lane: str, form: str, **words: str | None) -> None:
    """Begin nothing of LANE until it is resumed; what runs goes on, and submissions are accepted."""
    with open_client() as client:
        _show(client.post(f"{_path(lane)}/pause", pause_body(words)).body, form)


@queues.command("resume")
@click.argument("lane")
@item_format
def resume_queue(lane: str, form: str) -> None:
    """Begin again what waits in LANE."""
    with open_client() as client:
        _show(client.post(f"{_path(lane)}/resume", {}).body, form)


@queues.command("limit")
@click.argument("lane")
@click.argument("running", required=False, type=click.IntRange(0))
@click.option(
    "--queued",
    type=click.IntRange(0),
    help="Executions that may wait when another is submitted; 0 takes that limit away.",
)
@click.option(
    "--age", metavar="DURATION", help="How long one may have waited when another is submitted; 0 takes that limit away."
)
@item_format
def limit_queue(lane: str, running: int | None, queued: int | None, age: str | None, form: str) -> None:
    """Let at most RUNNING executions of LANE run at once; 0 takes the limit away. What is not given stays."""
    given = {"running": running, "queued": queued, "age": age}
    asked = {name: value for name, value in given.items() if value is not None}
    if not asked:
        raise click.UsageError("Give RUNNING, --queued or --age.")
    with open_client() as client:
        limits = client.get(_path(lane))["limits"]
        body = limits | {name: None if value in {0, "0"} else value for name, value in asked.items()}
        _show(client.put(f"{_path(lane)}/limits", body), form)


def pause_body(words: dict[str, str | None]) -> dict[str, str]:
    """What the options say of a pause.

    Raises:
        BadParameter: A time or a duration is none.
    """
    duration, until = words["duration"], words["until"]
    if duration is not None:
        span(duration, "--for")
    body = {
        "for": duration,
        "until": None if until is None else instant(until, "--until"),
        "user": words["user"],
    }
    return {name: value for name, value in body.items() if value is not None}


def pause_words(pause: Item | None) -> str:
    """A pause in words; nothing if there is none."""
    if pause is None:
        return ""
    until = f" until {local_time(pause['until'])}" if pause["until"] else ""
    return clean(f"paused{until} by {pause['by']}")


def _path(lane: str) -> str:
    return f"/api/queues/{segment(lane)}"


def _show(queue: Item, form: str) -> None:
    if form == "json":
        print_json(queue)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{clean(queue['lane'])} {_state(queue)}", _tone(queue))
    held = queue["queued"] - queue["due"]
    facts = [
        ("waiting", f"{queue['queued']}" + (f", {held} of them for a place or a paused command" if held else "")),
        ("oldest", human_duration(queue["oldest_age_ms"], unicode=terminal.unicode) or "-"),
        ("later", str(queue["scheduled"])),
        ("running", str(queue["running"])),
        ("workers", str(queue["workers"])),
        ("limits", _limits(queue) or "none of its own"),
    ]
    for label, value in facts:
        terminal.say(f"{label:<12} {clean(value)}")


def _state(queue: Item) -> str:
    return pause_words(queue["paused"]) or "active"


def _tone(queue: Item) -> str:
    return "running" if queue["paused"] else "succeeded"


def _limits(queue: Item) -> str:
    limits: dict[str, Any] = queue["limits"]
    said = (("running", "{} running"), ("queued", "{} waiting"), ("age", "waiting {}"))
    return ", ".join(text.format(limits[name]) for name, text in said if limits[name] is not None)


def _view(terminal: Terminal) -> View:
    return View(
        (
            Column("LANE", "lane", shrinks=True),
            Column("STATE", _state, tone=_tone, shrinks=True),
            Column("WAITING", lambda item: str(item["queued"]), right=True),
            Column("DUE", lambda item: str(item["due"]), right=True),
            Column("OLDEST", lambda item: human_duration(item["oldest_age_ms"], unicode=terminal.unicode), right=True),
            Column("RUNNING", lambda item: str(item["running"]), right=True),
            Column("WORKERS", lambda item: str(item["workers"]), right=True),
            Column("LIMITS", _limits, shrinks=True),
        ),
        _FIELDS,
        "There are no lanes.",
    )
