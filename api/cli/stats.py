"""`weir telemetry stats`: how often commands ran, which tools were used, what chats look like."""

from __future__ import annotations

from typing import Any

import click

from api.cli.event_options import explained, filter_options, usual_time
from api.cli.output import list_format, print_json, show_page
from api.cli.pager import paged
from api.cli.stat_lines import STATS, stat_lines
from api.cli.target import open_client
from api.cli.terminal import Terminal


@click.command("stats", short_help="Count events: by component, by command, by tool, of chats.")
@usual_time("24h")
@filter_options
@list_format
@paged
def stats(form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Count events: of each component, executions of each command, uses of each tool, and what chats consist of.

    The same as `weir telemetry query --type stats`. How long all that took: `weir telemetry performance`.
    Dry runs are events, too, and other than there are counted: `-f dry_run:false` leaves them out.
    """
    with explained(query["filter"]), open_client() as client:
        told = client.get("/api/telemetry/stats", query)
    if form == "json":
        print_json(told)
    else:
        show_page({"items": stat_lines(told), "next_cursor": None}, STATS, form, Terminal.of_stdout())
