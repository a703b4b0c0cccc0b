"""Options that say which events, for whatever tells of many of them; and what is said of a filter that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from api.cli.completion import components, slugs
from api.cli.faults import render
from api.cli.options import F, together
from api.cli.output import Item
from api.cli.terminal import Terminal
from api.client import ApiRefused
from dsl.errors import Fault

#: Exit code of a command line that is wrong.
USAGE = 2

filter_options = together(
    click.option("--filter", "-f", metavar="FILTER", help="As in 'command:x outcome:failed duration:>2s'."),
    click.option(
        "--component", shell_complete=components, help="Only of this component: command, dsl, fragment, http, ..."
    ),
    click.option("--command", shell_complete=slugs, help="Only of this command."),
    click.option("--step-type", help="Only of steps of this type."),
    click.option("--user", help="Only of this user (the plain name; what is stored is its hash)."),
    click.option("--space", help="Only of this space."),
)


def usual_time(last: str) -> Callable[[F], F]:
    """The options of a stretch of time, which is the last `last` unless they say another."""
    return together(
        click.option(
            "--last", "--time-range", "time_range", help=f"As far back as this: 15m, 1h, 7d.  [default: {last}]"
        ),
        click.option("--start", callback=_instant, help="From this time: `3d` or `90m` ago, or RFC 3339."),
        click.option("--end", callback=_instant, help="Before this time: `now`, `90m` ago, or RFC 3339."),
    )


def _instant(_context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    from api.cli.instants import instant_of

    return text and instant_of(text, option.opts[0])


@contextmanager
def explained(text: str | None) -> Iterator[None]:
    """Inside, a filter that the API finds wrong is shown with the place, and ends the command.

    Raises:
        Exit: With the code of a command line that is wrong.
    """
    try:
        yield
    except ApiRefused as refused:
        if refused.problem.get("code") != "filter.invalid":
            raise
        show_faults(refused.problem, text or "")
        raise click.exceptions.Exit(USAGE) from refused


def show_faults(problem: Item, text: str) -> None:
    """Show where the filter is wrong, on standard error."""
    for told in problem["errors"]:
        fault = Fault(**{name: told.get(name) for name in Fault.__dataclass_fields__})
        for line in render(fault, "--filter", text.split("\n")):
            Terminal.of_stderr().say(line)
