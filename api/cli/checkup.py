"""`weir telemetry health`: is everything as it should be, and if not, what mends it. `weir doctor` has its table."""

from __future__ import annotations

import time
from typing import Any

import click

from api.cli.event_options import Component, of_findings
from api.cli.interrupt import tidy
from api.cli.main import EXPECTED, INTERRUPTED
from api.cli.output import Column, Item, item_format, local_time, print_json, table
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean
from api.client import ApiUnreachable, Client

_PATH = "/api/telemetry/health"

_TONES = {"healthy": "succeeded", "warning": "slow", "unknown": "slow", "critical": "failed"}

#: From which overall health on the exit code is 1.
_FAILING = {"warning": {"warning", "critical"}, "critical": {"critical"}}

_CLEAR = "\x1b[H\x1b[2J"


@click.command("health", short_help="Say whether everything is well, and what mends what is not.")
@click.option(
    "--component",
    type=Component(of_findings),
    help="Only of this: database, redis, disk, sink, workers, ...; of events dsl, tool, ...",
)
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.5, max=3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How often, with --watch.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["critical", "warning"]),
    default="critical",
    show_default=True,
    help="From which overall health on the exit code is 1.",
)
@item_format
def health(component: str | None, watch: bool, every_s: float, fail_on: str, form: str) -> None:
    """Look at everything now: events, sink, servers, disks, clocks, workers. Exits with 1 if anything is critical.

    Each problem comes with the command that mends it or says more. With --watch and --format json, each look is one
    line. What was found every five minutes is stored: GET /api/telemetry/health-checks.
    """
    query = {"component": component}
    with open_client() as client:
        if not watch:
            found = client.get(_PATH, query)
            _show(found, form)
            if found["overall_health"] in _FAILING[fail_on]:
                raise click.exceptions.Exit(EXPECTED)
            return
        try:
            with tidy():
                _show_again(client.get(_PATH, query), form)
                while True:
                    time.sleep(every_s)
                    _show_again(_look(client, query), form)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def show_findings(findings: list[Any], terminal: Terminal) -> None:
    """A table of findings, below it what is wrong where that was cut to fit, and what to do."""
    if not findings:
        terminal.say("Nothing of it ended lately.", "dim")
        return
    heading, *lines = table(findings, _COLUMNS, terminal)
    terminal.say(heading)
    for line in lines:
        terminal.say(line)
    for finding, line in zip(findings, lines, strict=True):
        detail = clean(finding["detail"])
        if finding["status"] != "healthy" and detail not in line:
            terminal.say()
            terminal.say(f"{finding['name']}: {detail}", tone_of(finding["status"]))
    fixes = dict.fromkeys(finding["fix"] for finding in findings if finding["fix"])
    if fixes:
        terminal.say()
        terminal.say("What to do:", "bold")
        for fix in fixes:
            about = dict.fromkeys(finding["name"] for finding in findings if finding["fix"] == fix)
            terminal.say(f"  {fix}  ({', '.join(about)})")


def tone_of(status: str) -> str:
    """Its colour."""
    return _TONES[status]


def _look(client: Client, query: Item) -> Item:
    """What the API finds. That it has gone meanwhile is what somebody who watches wants to see."""
    from telemetry.clock import SystemClock

    try:
        found: Item = client.get(_PATH, query)
    except ApiUnreachable as error:
        away = {"name": "api", "component": "api", "status": "critical", "detail": error.detail, "fix": "weir status"}
        return {
            "status": "degraded",
            "checks": {},
            "overall_health": "critical",
            "looked_at": SystemClock().now().isoformat(),
            "components": [{"component": "api", "status": "critical"}],
            "findings": [{**away, "value": None, "unit": None}],
        }
    return found


def _show(found: Item, form: str) -> None:
    if form == "json":
        print_json(found)
        return
    terminal = Terminal.of_stdout()
    terminal.say(
        f"overall: {found['overall_health']}, at {local_time(found['looked_at'])}", tone_of(found["overall_health"])
    )
    terminal.say()
    show_findings(found["findings"], terminal)


def _show_again(found: Item, form: str) -> None:
    if form == "json":
        import json

        print(json.dumps(found), flush=True)
        return
    if Terminal.of_stdout().interactive:
        print(_CLEAR, end="")
    _show(found, form)


_COLUMNS = (
    Column("LOOKED AT", lambda finding: finding["name"]),
    Column("OF", lambda finding: finding["component"]),
    Column("STATUS", lambda finding: finding["status"], tone=lambda finding: tone_of(finding["status"])),
    Column("FINDING", lambda finding: finding["detail"], shrinks=True, least=20),
)
