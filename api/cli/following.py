"""Following an execution to its end on a terminal: its steps, what came of it, and the exit code that says so."""

from __future__ import annotations

import math
from typing import Any

import click

from api.cli.follow import FINAL_STATES, StepPrinter, follow
from api.cli.interrupt import tidy
from api.cli.main import EXPECTED, INTERRUPTED
from api.cli.outcome import show_outcome
from api.cli.output import Item, print_json
from api.cli.terminal import Terminal, clean
from api.cli.waiting import waits_for
from api.client import Client

#: Seconds one may ask to wait: a year.
LONGEST_WAIT_S = 366 * 86_400


class _Seconds(click.FloatRange):
    """Seconds within the range; click's own range lets `nan` pass, which compares with nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


wait_option = click.option(
    "--wait",
    "wait_s",
    type=_Seconds(min=0, max=LONGEST_WAIT_S),
    metavar="SECONDS",
    help="Wait no longer than this.",
)


def follow_to_end(client: Client, execution: Item, wait_s: float | None, form: str) -> int:
    """Wait, show, and say with which code to exit."""
    # JSON has standard output to itself.
    terminal = Terminal.of_stderr() if form == "json" else Terminal.of_stdout()
    try:
        with tidy():
            execution = follow(client, execution, StepPrinter(terminal), wait_s=wait_s)
    except KeyboardInterrupt:
        Terminal.of_stderr().say(f"\nIt goes on running: weir executions show {execution['id']}")
        return INTERRUPTED
    if form == "json":
        print_json(execution)
    else:
        show_outcome(execution, terminal)
        terminal.say(f"  weir telemetry trace {execution['id']}", "dim")
    if execution["state"] not in FINAL_STATES:
        waiting = execution.get("waiting_for")
        why = f", waiting for {waits_for(waiting)}" if waiting else ""
        Terminal.of_stderr().say(
            clean(
                f"weir: still {execution['state']} after {wait_s:g} s{why}; see weir executions show {execution['id']}"
            )
        )
    return 0 if execution["state"] == "succeeded" else EXPECTED
