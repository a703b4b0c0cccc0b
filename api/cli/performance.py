"""`weir telemetry performance`: how long things took, and how often they failed."""

from __future__ import annotations

from typing import Any

import click

from api.cli.event_options import explained, filter_options, usual_time
from api.cli.output import View, list_format, print_json, show_page
from api.cli.pager import paged
from api.cli.target import open_client
from api.cli.terminal import Terminal
from api.cli.timing_lines import FIELDS, remark_on_percentiles, timing_columns

#: What the API takes; it knows other words for them too (`llm`, `steps`).
_KINDS = ("command", "step", "tool", "model", "chat", "http")
_ORDERS = ("total", "count", "failures", "p50", "p95", "p99", "max", "name")
_TITLES = {"command": "COMMAND", "step": "STEP TYPE", "chat": "COMMAND", "http": "ROUTE"}


def _known(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    from telemetry.performance import kind_named

    if text is not None and kind_named(text) is None:
        raise click.BadParameter(f"there is no type {text!r}; there are {', '.join(_KINDS)}")
    return text


@click.command("performance", short_help="Show how long commands, steps, tools, models and requests took.")
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    callback=_known,
    help=f"Only {', '.join(_KINDS)}. Commands and steps unless given.",
)
@click.option(
    "--sort", type=click.Choice(_ORDERS), default="total", show_default=True, help="What the most of comes first."
)
@usual_time("24h")
@filter_options
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many lines.")
@list_format
@paged
def performance(kind: str | None, form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Show how often each ran to an end, how often it failed, and how long it took.

    P95 is what nineteen runs in twenty took no longer than. Percentiles are off by 1.1 % at most; they are exact where
    a filter asks for what roll-ups do not know, such as a user. All else is always exact. TOTAL is the time of all runs
    together, and SHARE how much of the time of all lines of its type that is; a step that runs others (`list.map`,
    `condition`) counts what ran inside of it, too. Dry runs are left out, unless --filter says `dry_run:`.
    """
    with explained(query["filter"]), open_client() as client:
        told = client.get("/api/telemetry/performance", {**query, "type": kind})
    if form == "json":
        print_json(told)
        return
    terminal = Terminal.of_stdout()
    types = {item["type"] for item in told["items"]}
    title = _TITLES.get(next(iter(types)), "CALLED BY") if len(types) == 1 else "NAME"
    view = View(
        timing_columns(title, terminal, with_type=len(types) > 1),
        FIELDS,
        "Nothing of it ended here. Look further back (--last 7d).",
    )
    show_page({"items": told["items"], "next_cursor": None}, view, form, terminal)
    if form == "table" and told["items"]:
        remark_on_percentiles(told)
