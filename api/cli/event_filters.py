"""Options that say which events: the same wherever events are looked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from api.cli.faults import render
from api.cli.instants import instant_of
from api.cli.options import together
from api.cli.output import Item
from api.cli.terminal import Terminal
from dsl.errors import Fault

#: What they are called as parameters, which are those of REST.
NAMES = (
    "filter", "component", "event_type", "level", "correlation_id", "execution_id", "command", "user", "space",
    "outcome", "time_range", "start", "end",
)  # fmt: skip

_USAGE = 2

event_filters = together(
    click.option(
        "--filter", "-f", metavar="FILTER", help="As in 'command:x outcome:failed duration:>2s -type:transform'."
    ),
    click.option("--component", help="Only of this component: command, dsl, fragment, http, ..."),
    click.option("--event-type", help="Only of this type; a prefix such as `dsl.step` will do."),
    click.option("--level", help="Only at this level."),
    click.option("--correlation-id", help="Only of this trace."),
    click.option("--execution-id", help="Only of this execution."),
    click.option("--command", help="Only of this command."),
    click.option("--user", help="Only of this user (the plain name; what is stored is its hash)."),
    click.option("--space", help="Only of this space."),
    click.option("--outcome", help="Only with this outcome."),
    click.option("--time-range", "--last", "time_range", help="As far back as this: 15m, 1h, 7d."),
    click.option("--start", help="From this time: `3d` or `90m` ago, or RFC 3339."),
    click.option("--end", help="Before this time: `now`, `90m` ago, or RFC 3339."),
)


def instants_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with times as REST takes them.

    Raises:
        click.BadParameter: One is no time.
    """
    times = {name: given[name] and instant_of(given[name], f"--{name}") for name in ("start", "end")}
    return {**given, **times}


def explain_filter(problem: Item, text: str) -> int:
    """Show where the filter is wrong; the exit code."""
    for told in problem["errors"]:
        fault = Fault(**{name: told.get(name) for name in Fault.__dataclass_fields__})
        for line in render(fault, "--filter", text.split("\n")):
            Terminal.of_stderr().say(line)
    return _USAGE
