"""`weir telemetry query`: events by whatever one knows of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from api.cli.event_following import Printer, follow
from api.cli.event_options import Component, explained, of_findings, which_events
from api.cli.event_views import chosen_columns, only_columns, view_of
from api.cli.history_views import HISTORIES, history_view
from api.cli.interrupt import tidy
from api.cli.main import EXPECTED, INTERRUPTED
from api.cli.metric_options import OF_BUCKETS, which_buckets
from api.cli.output import list_format, print_json, show_page
from api.cli.pager import paged
from api.cli.stat_lines import STATS, stat_lines
from api.cli.target import open_client
from api.cli.terminal import Terminal

_PATH = "/api/telemetry/events"

#: Kinds of records.
_TYPES = ("events", "stats", *HISTORIES)

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_LIMIT = re.compile(r"\s*count\s*(>=|<=|==|!=|>|<|=)\s*([0-9]{1,15})\s*", re.ASCII)


class CountLimit(NamedTuple):
    """A condition on how many there are.

    Attributes:
        comparison: One of `_COMPARISONS`.
        number: What the count is compared with.
    """

    comparison: str
    number: int

    def holds(self, count: int) -> bool:
        """Whether it does, for this many."""
        return _COMPARISONS[self.comparison](count, self.number)


def count_limit(_context: click.Context, _option: click.Parameter, text: str | None) -> CountLimit | None:
    """A condition such as `count>0`."""
    if text is None:
        return None
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a condition such as 'count>0' or 'count<=5'")
    return CountLimit(match[1], int(match[2]))


def _more_components() -> Sequence[str]:
    """The components there are beside those of events, of the type that is asked for."""
    return of_findings() if click.get_current_context().params["kind"] == "health" else ()


@click.command("query", short_help="Find events, follow them, count them.")
@click.option(
    "--type", "kind", type=click.Choice(_TYPES), default="events", show_default=True, is_eager=True, help="Of what."
)
@which_events(component=Component(_more_components))
@click.option("--limit", type=click.IntRange(1, 10_000), help="How many; 100 unless set otherwise.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@which_buckets
@click.option("--columns", metavar="NAMES", help="Fields to show, with commas: occurred_at,event_type,duration_ms.")
@click.option("--follow", "is_followed", is_flag=True, help="Go on with what is stored from now on, until Ctrl-C.")
@click.option(
    "--fail-if", "fails", callback=count_limit, metavar="CONDITION", help="Exit with 1 if so many match: 'count>0'."
)
@click.option(
    "--export",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all that match to this file, as `weir telemetry export` does: .jsonl, .json or .csv, also .gz.",
)
@list_format
@paged
def query(
    kind: str,
    form: str,
    is_followed: bool,
    fails: CountLimit | None,
    target: Path | None,
    **given: Any,  # noqa: ANN401 - likewise
) -> int:
    """Find stored events, newest first.

    All options together say which. `--filter` takes a text in the language of docs/reference/filters.md.
    """
    columns = chosen_columns(given.pop("columns"))
    buckets = {name: given.pop(name) for name in OF_BUCKETS}
    if kind != "metrics":
        _refuse_together(f"--type {kind}", {_option(name): value for name, value in buckets.items()})
    if target is not None:
        others = {"--type": kind != "events", "--follow": is_followed, "--fail-if": fails, "--columns": columns}
        return _export(target, form, given, others)
    if is_followed:
        others = {"--type": kind != "events", "--fail-if": fails, "--cursor": given["cursor"], "--end": given["end"]}
        _refuse_together("--follow", others)
    with explained(given["filter"]):
        if kind == "stats":
            return _stats(form, fails, given, columns)
        if kind in HISTORIES:
            return _history(kind, form, fails, {**given, **buckets}, columns)
        return _follow(form, given, columns) if is_followed else _events(form, fails, given, columns)


def _export(target: Path, form: str, typed: Mapping[str, Any], others: Mapping[str, object]) -> int:
    from api.cli.export import HowToWrite, export_events, form_of

    _refuse_together("--export", {**others, **{f"--{name}": typed[name] for name in ("limit", "cursor")}})
    how = HowToWrite(form_of(target, None if form == "table" else form), is_compressed=target.suffix == ".gz")
    return export_events(target, how, {name: value for name, value in typed.items() if name not in ("limit", "cursor")})


def _events(form: str, fails: CountLimit | None, given: Mapping[str, Any], columns: tuple[str, ...]) -> int:
    with open_client() as client:
        page = client.get(_PATH, {**given, "count": "true" if fails else None})
    terminal = Terminal.of_stdout()
    if form == "json":
        page = {**page, "items": [only_columns(item, columns) for item in page["items"]]}
    show_page(page, view_of(terminal, columns), form, terminal)
    if not page["items"]:
        _remark_on_nothing(given)
    return _verdict(fails, page["count"])


def _remark_on_nothing(given: Mapping[str, Any]) -> None:
    """Say so where nothing is found because nothing of it is recorded."""
    from telemetry.components import STEP_TYPES, event_type_name
    from telemetry.events import CATALOGUE

    component = given["component"] or event_type_name(given["event_type"] or "").partition(".")[0]
    if component and component not in {each.component for each in CATALOGUE}:
        steps = STEP_TYPES.get(component)
        more = f"; look for its steps: --step-type {steps}" if steps else ""
        Terminal.of_stderr().say(f"weir: nothing records events of {component} yet{more}")


def _stats(form: str, fails: CountLimit | None, given: Mapping[str, Any], columns: tuple[str, ...]) -> int:
    _refuse_together("--type stats", {"--columns": columns, "--limit": given["limit"], "--cursor": given["cursor"]})
    with open_client() as client:
        told = client.get("/api/telemetry/stats", given)
    if form == "json":
        print_json(told)
    else:
        show_page({"items": stat_lines(told), "next_cursor": None}, STATS, form, Terminal.of_stdout())
    return _verdict(fails, told["events"])


def _follow(form: str, given: Mapping[str, Any], columns: tuple[str, ...]) -> int:
    terminal = Terminal.of_stdout()
    with open_client() as client:
        try:
            with tidy():
                follow(client, _PATH, given, Printer(view_of(terminal, columns), form, columns, terminal))
        except KeyboardInterrupt:
            return INTERRUPTED
    return 0


def _history(kind: str, form: str, fails: CountLimit | None, given: Mapping[str, Any], columns: tuple[str, ...]) -> int:
    history = HISTORIES[kind]
    asked = {**given, "columns": columns, "fail_if": fails}
    for name, value in asked.items():
        if value and name not in history.options:
            known = ", ".join(map(_option, sorted(history.options)))
            raise click.UsageError(f"--type {kind} has no {_option(name)}; it takes {known}")
    with open_client() as client:
        page = client.get(history.path, {name: given[name] for name in history.options})
    terminal = Terminal.of_stdout()
    show_page(page, history_view(kind, terminal), form, terminal)
    return 0


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _verdict(fails: CountLimit | None, count: int | None) -> int:
    """The exit code that a count asks for; says why on standard error."""
    if fails is None or count is None or not fails.holds(count):
        return 0
    Terminal.of_stderr().say(f"weir: {count} match: count{fails.comparison}{fails.number}")
    return EXPECTED


def _refuse_together(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that make no sense with another one.

    Raises:
        UsageError: One of `others` is given.
    """
    for name, value in others.items():
        if value:
            raise click.UsageError(f"{option} and {name} exclude each other")
