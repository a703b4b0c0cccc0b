"""`weir notifications`: the inbox."""

from __future__ import annotations

from typing import Any

import click

from api.cli.output import Column, Item, View, list_format, local_time, show_page
from api.cli.target import open_client
from api.cli.terminal import Terminal

_TONES = {"warning": "yellow", "error": "red"}


def _tone(item: Item) -> str:
    return _TONES.get(str(item["level"]), "")


_VIEW = View(
    (
        Column("SENT", lambda item: local_time(item["created_at"])),
        Column("LEVEL", "level", tone=_tone),
        Column("USER", "user", leaves=2),
        Column("MESSAGE", "message", shrinks=True),
        Column("EXECUTION", lambda item: str(item["execution_id"] or ""), leaves=1),
    ),
    ("id", "created_at", "user", "level", "message", "space", "execution_id"),
    "Nothing is in the inbox. What notify steps and alerts tell through the channel inbox is listed here.",
)


@click.group(short_help="Read the inbox: what commands and alerts told people.")
def notifications() -> None:
    """Read the inbox: what `notify` steps of commands, and alerts, told people."""


@notifications.command("list")
@click.option("--user", help="Only those for this user; alerts are for `operator`, unless the settings say otherwise.")
@click.option("--space", help="Only those of this space.")
@click.option("--level", type=click.Choice(["info", "warning", "error"]), help="Only those of this level.")
@click.option("--last", "time_range", metavar="DURATION", help="Only those sent since: 1h, 7d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_notifications(form: str, **query: Any) -> None:  # noqa: ANN401 - one per option
    """List messages, newest first."""
    with open_client() as client:
        page = client.get("/api/notifications", query)
    show_page(page, _VIEW, form, Terminal.of_stdout())
