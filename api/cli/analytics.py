"""`weir telemetry analytics` and `spikes`: what is slow, fails and costs, since when; and what is more than usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from api.cli.event_options import usual_time
from api.cli.output import Column, Item, View, list_format, local_time, print_json, show_page
from api.cli.pager import paged
from api.cli.target import open_client
from api.cli.terminal import Terminal, human_duration
from api.cli.timing_lines import shown_percent

#: As the API takes them; it knows shorter names of figures too.
BYS = ("command", "step", "tool", "model", "user", "space", "component")
SPIKES_BY = ("command", "step", "component", "category")
FIGURES = (
    *("request_rate", "total_latency", "context_latency", "llm_latency", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "error_rate", "cache_hit_rate", "error_count", "total_time", "p50", "p95", "p99"),
)
_TITLES = {"step": "STEP TYPE"}
#: Headings of what has changed.
_CHANGED = {"request_rate": "REQUESTS", "total_latency": "LATENCY", "total_tokens": "TOKENS", "cache_hit_rate": "CACHE"}
_WHOLE_FROM = 10
_ARROWS = {"rising": "↗", "falling": "↘", "steady": "→", "unknown": ""}
_SIGNS = {"rising": "+", "falling": "-", "steady": "=", "unknown": ""}

#: Of a line in CSV, which only ever grows at its end; then comes what is told of each figure.
_FIELDS = (
    *("component", "name", "count", "share_percent", "per_minute", "per_hour", "per_day", "success_percent", "errors"),
    *("error_percent", "average_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "context_p95_ms", "llm_p95_ms"),
    *("total_ms", "time_share_percent", "prompt_tokens", "completion_tokens", "cache_hit_percent"),
)
_OF_FIGURE = ("value", "previous", "change_percent", "slope", "direction")
_SPIKE_FIELDS = (
    *("name", "start", "end", "is_open", "count", "expected", "ratio", "events", "error_percent", "p_value"),
    *("baseline", "peak"),
)


def _known(_context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Names of figures that there are, as the API takes them.

    Raises:
        BadParameter: There is no such figure.
    """
    from telemetry.analytics.figures import ALSO

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FIGURES and name not in ALSO and (option.name, name) != ("order", "name"):
            raise click.BadParameter(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")
    return ",".join(names)


@click.command("analytics", short_help="Show what is slow, what fails, what it costs, and since when.")
@click.option("--by", type=click.Choice(BYS), default="command", show_default=True, help="What is told apart.")
@click.option("--name", help="Only the one that is called so.")
@click.option(
    "--metric",
    metavar="NAME[,NAME]",
    callback=_known,
    help=f"Figures whose trend is told: {', '.join(FIGURES)}. The rates and the average latency unless given.",
)
@click.option(
    "--order",
    metavar="NAME",
    callback=_known,
    help="The figure that what has the most of comes first, or `name`. request_rate if not.",
)
@usual_time("24h")
@click.option("--user", help="Only of this user (the plain name); by user or component.")
@click.option("--space", help="Only of this space; by space or component.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many lines.")
@list_format
@paged
def analytics(form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Show how often each ran, how it came out, how long it took, what it cost, and where that goes.

    Beside a figure is by how much it differs from the time before, as long, and whether it rises or falls within this
    one by more than chance: an arrow, nothing where there is too little to tell. Figures of commands and users are of
    executions and chat requests that have ended. Percentiles are within 1.1 %.
    """
    with open_client() as client:
        told = client.get("/api/metrics/analytics", query)
    if form == "json":
        print_json(told)
        return
    names = tuple(told["all"]["changes"])
    terminal = Terminal.of_stdout()
    view = View(
        _columns(told["by"], names, told["items"], terminal),
        (*_FIELDS, *(f"{name}_{field}" for name in names for field in _OF_FIGURE)),
        "Nothing of it ended here. Look further back (--last 7d), or store samples: weir telemetry test",
    )
    lines = list(_flat(told["items"])) if form == "csv" else told["items"]
    show_page({"items": lines, "next_cursor": None}, view, form, terminal)
    if form == "table" and told["items"]:
        titles, since = ", ".join(map(_title, names)), local_time(told["previous_start"])[:16]
        Terminal.of_stderr().say(f"{titles} on the right: changed by, against the time before (from {since})", "dim")
    if form == "table" and told["members"] > len(told["items"]):
        Terminal.of_stderr().say(f"{len(told['items'])} of {told['members']:,}; more with --limit", "dim")


@click.command("spikes", short_help="Show errors that are more than usual.")
@click.option("--by", type=click.Choice(SPIKES_BY), default="command", show_default=True, help="Whose errors.")
@click.option("--name", help="Only of what is called so.")
@click.option("--bucket", type=click.Choice(["5m", "1h"]), help="How long a time is judged at once; it depends.")
@usual_time("24h")
@list_format
@paged
def spikes(form: str, **query: Any) -> None:  # noqa: ANN401 - options
    """Show when there were more errors than usual at that time of day, or than in the hours before if less is known.

    Few are none: five at least, twice as many as usual at least, and so improbable that chance alone makes one on one
    day in a hundred. What happens every day or every week is not told, and neither is the second hour of a new Weir.
    """
    with open_client() as client:
        told = client.get("/api/metrics/spikes", query)
    if form == "json":
        print_json(told)
        return
    empty = "No more errors than usual here." if told["known_since"] else "No events yet to compare with."
    terminal = Terminal.of_stdout()
    show_page({"items": told["items"], "next_cursor": None}, View(_SPIKES, _SPIKE_FIELDS, empty), form, terminal)


def _columns(by: str, names: Sequence[str], items: Sequence[Item], terminal: Terminal) -> Sequence[Column]:
    def latency(share: str, part: str = "total") -> str | Any:  # noqa: ANN401 - a cell
        return lambda item: _duration(item["latency"][part][share], terminal)

    has_tokens, has_cache = (
        any(item[name][of] for item in items) for name, of in (("tokens", "total"), ("cache", "hits"))
    )
    return (
        Column(_TITLES.get(by, by.upper()), lambda item: item["name"] or "(none)", shrinks=True, least=14),
        Column("COUNT", lambda item: f"{item['requests']['count']:,}", right=True),
        Column("SHARE", lambda item: shown_percent(item["requests"]["share_percent"]), right=True, leaves=4),
        Column("SUCCESS", lambda item: shown_percent(item["success_percent"]), right=True, leaves=7),
        Column("ERRORS", lambda item: f"{item['errors']['errors']:,}", right=True, leaves=6, tone=_failed),
        Column("P50", latency("median"), right=True, leaves=5),
        Column("P95", latency("p95"), right=True, leaves=8),
        Column("P99", latency("p99"), right=True, leaves=3),
        Column("TIME", lambda item: shown_percent(item["time"]["share_percent"]), right=True, leaves=2),
        *([Column("TOKENS", lambda item: f"{item['tokens']['total']:,}", right=True, leaves=4)] if has_tokens else ()),
        *(
            [Column("CACHE", lambda item: shown_percent(item["cache"]["rate_percent"]), right=True, leaves=1)]
            if has_cache
            else ()
        ),
        *(Column(_title(name), _way(name, terminal), right=True, leaves=9) for name in names),
    )


def _title(name: str) -> str:
    """Of the column that says by how much a figure has changed."""
    return _CHANGED.get(name, name.upper().replace("_", " "))


def _way(name: str, terminal: Terminal) -> Any:  # noqa: ANN401 - a cell
    """By how much a figure has changed, and where it goes."""
    marks = _ARROWS if terminal.unicode else _SIGNS

    def cell(item: Item) -> str:
        told = item["trends"][name]
        change = told["change_percent"]
        said = "new" if change is None and told["value"] else "" if change is None else f"{change:+,.0f} %"
        return f"{said} {marks[told['direction']]}".strip()

    return cell


def _flat(items: Sequence[Item]) -> Iterator[Mapping[str, Any]]:
    """Lines of a spreadsheet: a value a cell."""
    for item in items:
        latency, errors = item["latency"], item["errors"]
        yield {
            "component": item["component"],
            "name": item["name"],
            **item["requests"],
            "success_percent": item["success_percent"],
            "errors": errors["errors"],
            "error_percent": errors["rate_percent"],
            "average_ms": latency["total"]["average"],
            "p50_ms": latency["total"]["median"],
            **{f"{name}_ms": latency["total"][name] for name in ("p95", "p99", "max")},
            "context_p95_ms": latency["context"]["p95"],
            "llm_p95_ms": latency["llm"]["p95"],
            "total_ms": item["time"]["total_ms"],
            "time_share_percent": item["time"]["share_percent"],
            "prompt_tokens": item["tokens"]["prompt"],
            "completion_tokens": item["tokens"]["completion"],
            "cache_hit_percent": item["cache"]["rate_percent"],
            **{f"{name}_{field}": told[field] for name, told in item["trends"].items() for field in _OF_FIGURE},
        }


def _duration(duration_ms: float | None, terminal: Terminal) -> str:
    return "" if duration_ms is None else human_duration(duration_ms, unicode=terminal.unicode)


def _few(count: float) -> str:
    return f"{count:,.0f}" if count >= _WHOLE_FROM else f"{count:.2g}"


def _failed(item: Item) -> str:
    return "failed" if item["errors"]["errors"] else ""


_COMPARED: Final = {
    "days": "that time of day",
    "weeks": "that weekday",
    "hours": "the hours before",
    "slots": "these minutes of hours before",
    "slot_days": "these minutes of days before",
}

_SPIKES = (
    Column("NAME", "name", shrinks=True, least=14),
    Column("FROM", lambda item: local_time(item["start"])[:16]),
    Column("TO", lambda item: "going on" if item["is_open"] else local_time(item["end"])[:16]),
    Column("ERRORS", lambda item: f"{item['count']:,}", right=True, tone=lambda _: "failed"),
    Column("USUALLY", lambda item: _few(item["expected"]), right=True),
    Column("TIMES", lambda item: f"{item['ratio']:,.0f}", right=True, leaves=2),
    Column("OF", lambda item: "" if item["events"] is None else f"{item['events']:,}", right=True, leaves=3),
    Column("COMPARED WITH", lambda item: _COMPARED[item["baseline"]], leaves=1),
)
