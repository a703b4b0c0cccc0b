"""`weir telemetry errors`: what goes wrong, by its cause."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from api.cli.event_options import explained, which_events
from api.cli.output import Column, Item, View, list_format, local_time, print_json, show_page
from api.cli.pager import paged
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean

#: From nothing to the most of a line.
_BARS, _ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"

_FIELDS = (
    "fingerprint", "error_type", "error_category", "count", "traces", "first_at", "last_at", "newest_trace", "commands",
    "step_types", "spread", "frames",
)  # fmt: skip


@click.command("errors", short_help="Group errors by their cause.")
@which_events(usual="24h")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many groups.")
@click.option("--frames", is_flag=True, help="And where in the code each arose.")
@list_format
@paged
def errors(form: str, frames: bool, **query: Any) -> None:  # noqa: ANN401 - options
    """Group errors by their cause: the class of what was raised, and where. The most frequent come first.

    OVER TIME shows how they are spread over the time asked for, each by its own most. The newest trace says more:
    `weir telemetry trace ID`. Frames are noted within a minute of an error's first time.
    """
    with explained(query["filter"]), open_client() as client:
        told = client.get("/api/telemetry/errors", query)
    if form == "json":
        print_json(told)
        return
    terminal = Terminal.of_stdout()
    show_page({"items": told["items"], "next_cursor": None}, _view(terminal), form, terminal)
    if frames and form == "table":
        for item in told["items"]:
            for text, tone in _frame_lines(item):
                terminal.say(text, tone)


def _frame_lines(item: Item) -> Iterator[tuple[str, str]]:
    """Where one arose, outermost first, as in a traceback."""
    yield "", ""
    yield clean(f"{item['error_type']} {item['fingerprint']} ({item['count']})"), "failed"
    if item["frames"] is None:
        yield "  not noted: samples and imports have none, and new errors get theirs within a minute", "dim"
    for frame in item["frames"] or ():
        yield clean(f"  {frame}"), ""


def sparkline(counts: list[int], *, unicode: bool = True) -> str:
    """A character for each count, the higher the more; what is not nothing is seen."""
    bars, most = _BARS if unicode else _ASCII_BARS, max(counts, default=0)
    top = len(bars) - 1
    return "".join(bars[0 if not count else max(1, count * top // most)] for count in counts)


def _view(terminal: Terminal) -> View:
    def where(item: Item) -> str:
        return ", ".join(item["commands"] or item["step_types"])

    return View(
        (
            Column("COUNT", lambda item: str(item["count"]), right=True),
            Column("TRACES", lambda item: str(item["traces"]), right=True, leaves=2),
            Column("ERROR", lambda item: item["error_type"] or "", shrinks=True, least=14, tone=lambda _: "failed"),
            Column("CATEGORY", lambda item: item["error_category"] or "", leaves=3),
            Column("WHERE", where, shrinks=True, leaves=5),
            Column("FIRST", lambda item: local_time(item["first_at"]), leaves=1),
            Column("LAST", lambda item: local_time(item["last_at"])),
            Column("OVER TIME", lambda item: sparkline(item["spread"], unicode=terminal.unicode), leaves=4),
            Column("NEWEST TRACE", "newest_trace"),
        ),
        _FIELDS,
        "No errors here. Look further back (--last 7d).",
    )
