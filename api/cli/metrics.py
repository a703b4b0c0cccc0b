"""`weir telemetry metrics`: a metric of requests over time."""

from __future__ import annotations

from typing import Any

import click

from api.cli.error_groups import sparkline
from api.cli.event_options import usual_time
from api.cli.metric_options import AGGREGATIONS, TYPES
from api.cli.output import Column, Item, View, list_format, local_time, print_json, show_page
from api.cli.pager import paged
from api.cli.target import open_client
from api.cli.terminal import Terminal

_COMPONENTS = ("chat", "command")
#: Bars of the line above the table, at most.
_MOST_BARS = 120
#: How tall the tallest of them is, in steps.
_STEPS = 1000
#: What is known of a point beside its value, as columns.
_NUMBERS = (
    "requests",
    "count",
    "median",
    "p95",
    "p99",
    "min",
    "max",
    "average_per_request",
    "errors",
    "hits",
    "misses",
)


def _type(_context: click.Context, _argument: click.Parameter, text: str) -> str:
    from difflib import get_close_matches

    name = text.strip().lower().replace("-", "_")
    if name not in TYPES:
        near = get_close_matches(name, TYPES, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(TYPES)}"
        raise click.BadParameter(f"there is no metric {text!r}; {meant}")
    return name


@click.command("metrics", short_help="Show a metric of requests over time.")
@click.argument("type", metavar="TYPE", callback=_type)
@click.option(
    "--aggregation", type=click.Choice(AGGREGATIONS), default="hour", show_default=True, help="How long each step is."
)
@usual_time("24h")
@click.option("--component", type=click.Choice(_COMPONENTS), help="Only these requests.")
@click.option("--user", help="Only of this user (the plain name; what is stored is its hash).")
@click.option("--space", help="Only of this space; not together with --user.")
@list_format
@paged
def metrics(form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Show request_rate, total_latency, context_latency, llm_latency, prompt_tokens, completion_tokens, total_tokens,
    error_rate or cache_hit_rate, step by step; or latency, tokens, errors, cache, requests.

    A request is an execution that has come to its end, or a chat request that has. The same as GET
    /api/metrics/historical.
    """
    with open_client() as client:
        told = client.get("/api/metrics/historical", query)
    if form == "json":
        print_json(told)
        return
    terminal = Terminal.of_stdout()
    if form == "table" and told["items"]:
        terminal.say(_heading(told, terminal))
        terminal.say("")
    items = [{**item["metadata"], "timestamp": item["timestamp"], "value": item["value"]} for item in told["items"]]
    shown = [name for name in _NUMBERS if any(name in item for item in items)]
    view = View(
        (
            Column("FROM", lambda item: local_time(item["timestamp"])),
            Column(
                f"{told['type'].replace('_', ' ').upper()} ({told['unit']})",
                lambda item: _text(item["value"]),
                right=True,
            ),
            *(_column(name, len(shown) - position) for position, name in enumerate(shown)),
        ),
        ("timestamp", "value", *shown),
        "There is no time in that.",
    )
    show_page({"items": items, "next_cursor": None}, view, form, terminal)


def _column(name: str, leaves: int) -> Column:
    return Column(name.replace("_", " ").upper(), lambda item: _text(item[name]), right=True, leaves=leaves)


def _heading(told: Item, terminal: Terminal) -> str:
    """The metric at one glance: its values as bars, least and greatest."""
    values = [item["value"] for item in told["items"]]
    known = [value for value in values if value is not None]
    if not known:
        return f"{told['type']}: nothing to tell"
    top = max(known)
    recent = values[-min(_MOST_BARS, max(terminal.width - 50, 20)) :]
    bars = sparkline([round(_STEPS * (value or 0) / top) if top else 0 for value in recent], unicode=terminal.unicode)
    return f"{told['type']}  {bars}  {_text(min(known))} to {_text(top)} {told['unit']} by {told['aggregation']}"


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"
