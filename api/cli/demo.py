"""`weir demo`: the main job from nothing, in a temporary home, checked against what was stored.

Starts the embedded stack, imports a folder of real notes, runs every pack and a command of its own that fails half-way,
all through the REST API; then compares what telemetry stored with what the ledger says was run, and stops everything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import click

from api.cli.interrupt import tidy
from api.cli.output import Column, table
from api.cli.terminal import Terminal
from api.client import ApiRefused, Client
from telemetry.clock import SystemClock
from telemetry.errors import WeirError

#: The notes that are imported: this repository's own documentation.
NOTES = Path(__file__).parent.parent.parent / "docs"

#: Notes added one command at a time, so that the triage maps over more than `LEAST_ITEMS`.
ADDED = 90
LEAST_ITEMS = 100

#: Seconds a command, and afterwards its telemetry, may take.
PATIENCE_S = 20

#: Written into the temporary home while the stack runs: it is picked up without a restart.
FAILS_HALF_WAY = """\
slug: demo.half-way
description: Keeps a note, then finds that its input is not what it expected.
inputs:
  amount: {type: integer, required: true}
steps:
  - id: keep
    type: fragment.create
    with: {type: note, title: "Amount {{ inputs.amount }}", content: before the check, tags: [demo]}
  - id: check
    type: validate
    with:
      rules:
        - {value: "{{ inputs.amount }}", max: 10, message: the amount is too large}
  - id: never
    type: respond
    with: {value: "{{ steps.keep.output.fragment_id }}"}
"""


class DemoFailed(WeirError):
    """Something did not end as it must, or what was stored is not what was run."""

    code = "demo.failed"


@dataclass(slots=True)
class Run:
    """One execution of the demo.

    Attributes:
        execution: As the API shows it, final.
        expected: The state it must have ended in.
        steps: Its ledger rows.
        events: Its stored events, the HTTP request left out.
    """

    execution: dict[str, Any]
    expected: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack running in its temporary home.")
def demo(keep: bool) -> None:
    """Show the main job from nothing: start, import, run, trace, check, stop."""
    clock = SystemClock()
    began_us = clock.monotonic_us()
    with tidy(), _stack(keep=keep) as (client, environment):
        click.echo(f"The stack answers at {client.url} after {(clock.monotonic_us() - began_us) / 1e6:.1f} s.\n")
        _weir(environment, "fragments", "import", str(NOTES))
        runs = _run_everything(client, Path(environment["WEIR_HOME"]))
        _collect(client, runs)
        for title, name in (("A map over every note:", "triage"), ("One that fails half-way:", "half-way")):
            click.echo(f"\n{title}\n")
            _weir(environment, "telemetry", "trace", runs[name].execution["id"])
        _show_stored(runs)
        _check(runs)
        if keep:
            click.echo(f"\nStill running: WEIR_HOME={environment['WEIR_HOME']} weir status")
    click.echo(f"\nEvery count agrees. The demo took {(clock.monotonic_us() - began_us) / 1e6:.1f} s.")


@contextmanager
def _stack(*, keep: bool) -> Iterator[tuple[Client, dict[str, str]]]:
    """The embedded stack in a new temporary home, on a free port; stopped and removed in the end, come what may."""
    home = Path(tempfile.mkdtemp(prefix="weir-demo-"))
    # A home of root's is entered by the unprivileged user that the servers run as; what is in it stays closed.
    home.chmod(0o711)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    environment["WEIR_HOME"] = str(home / "home")
    try:
        _weir(environment, "up", "--detach", "--port", "0")
        with Client(_api_url(environment), timeout_s=PATIENCE_S) as client:
            yield client, environment
    finally:
        if not keep:
            try:
                _weir(environment, "down")
            finally:
                shutil.rmtree(home, ignore_errors=True)


def _weir(environment: Mapping[str, str], *arguments: str) -> None:
    """Run the command line as a person would.

    Raises:
        DemoFailed: It did not exit with 0.
    """
    click.echo(f"$ weir {' '.join(arguments)}")
    program = [sys.executable, "-c", "from api.cli.entry import run; run()"]
    # The arguments are this module's own.
    done = subprocess.run([*program, *arguments], env=dict(environment), check=False)  # noqa: S603
    if done.returncode != 0:
        raise DemoFailed(f"weir {arguments[0]} ended with {done.returncode}")


def _api_url(environment: Mapping[str, str]) -> str:
    from api.cli.target import base_url
    from api.settings import load_settings

    return base_url(load_settings(environment))


def _run_everything(client: Client, home: Path) -> dict[str, Run]:
    """Every pack, a dry run, a map over all notes, and a command that fails half-way."""
    todo = {"body": "buy milk", "priority": "high"}
    runs = {
        "todo": _run(client, "todo.add", todo),
        "dry": _run(client, "todo.add", {"body": "only thought of"}, dry_run=True),
    }
    for number in range(ADDED):
        body = {"content": f"Note {number} of the demo\n\nTODO: look at number {number}", "tags": ["demo"]}
        runs[f"note {number}"] = _run(client, "note.add", body)
    runs["triage"] = _run(client, "inbox.triage", {"limit": 1000})
    runs["digest"] = _run(client, "digest.daily", {})
    runs["remind"] = _run(client, "remind", {"older_than": "0s"})
    runs["search"] = _run(client, "search", {"text": "number or stream", "limit": 5})
    runs["recall"] = _run(client, "recall", {"about": "demo"})
    runs["retag"] = _run(client, "fragments.retag", {"from": "demo", "to": "shown"})
    # What is done is archived, and what is archived is purged: here without waiting for a month and a year.
    runs["done"] = _run(client, "todo.done", {"id": runs["todo"].execution["result"]["fragment_id"]})
    runs["archive"] = _run(client, "fragments.archive", {"older_than": "0s"})
    runs["purge"] = _run(client, "fragments.purge", {"older_than": "0s"})
    (home / "commands" / "half-way.yaml").write_text(FAILS_HALF_WAY, encoding="utf-8")
    runs["half-way"] = _run(client, "demo.half-way", {"amount": 11}, expected="failed")
    click.echo(f"\n{len(runs)} executions ran.")
    return runs


def _run(
    client: Client, slug: str, inputs: Mapping[str, Any], *, dry_run: bool = False, expected: str = "succeeded"
) -> Run:
    body = {"inputs": inputs, "dry_run": dry_run}
    answer = client.post(f"/api/commands/{slug}/executions", body, wait_s=PATIENCE_S)
    if answer.body["state"] != expected:
        raise DemoFailed(f"{slug} is {answer.body['state']}, not {expected}: {answer.body['error']}")
    return Run(answer.body, expected)


def _collect(client: Client, runs: Mapping[str, Run]) -> None:
    """Steps of every run, and its events as soon as all that its ledger demands are stored."""
    clock, pause = SystemClock(), Event()
    deadline_us = clock.monotonic_us() + PATIENCE_S * 1_000_000
    for run in runs.values():
        path = f"/api/executions/{run.execution['id']}"
        run.steps = list(client.pages(f"{path}/steps", {"limit": 1000}))
        while True:
            run.events = _events(client, run)
            if len(run.events) >= sum(_demanded(run).values()) or clock.monotonic_us() > deadline_us:
                break
            pause.wait(0.05)


def _events(client: Client, run: Run) -> list[dict[str, Any]]:
    query = {"execution_id": run.execution["id"], "limit": 1000, "time_range": "1h"}
    try:
        return list(client.pages("/api/telemetry/events", query))
    except ApiRefused as error:
        raise DemoFailed(f"the events of {run.execution['id']} cannot be read: {error.detail}") from error


def _demanded(run: Run) -> Counter[str]:
    """The events a run's ledger demands: queued, started, one a step, one a fragment changed, one at the end."""
    names = {"succeeded": "dsl.step.executed", "failed": "dsl.step.failed", "skipped": "dsl.step.skipped"}
    demanded = Counter(names[step["outcome"]] for step in run.steps)
    demanded["command.execution.queued"] += 1
    demanded["command.execution.started"] += 1
    end = "completed" if run.expected == "succeeded" else "failed"
    demanded[f"command.execution.{end}"] += 1
    if not run.execution["dry_run"]:
        for effect in run.execution["effects"]:
            if effect["entity"] == "fragment":
                demanded[f"fragment.{effect['operation']}"] += effect["rows"]
    return demanded


def _show_stored(runs: Mapping[str, Run]) -> None:
    demanded: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for run in runs.values():
        demanded += _demanded(run)
        stored += Counter(event["event_type"] for event in run.events)
    items = [{"event": name, "demanded": demanded[name], "stored": stored[name]} for name in sorted(demanded | stored)]
    items.append({"event": "all", "demanded": demanded.total(), "stored": stored.total()})
    columns = [
        Column("Event", lambda item: str(item["event"])),
        Column("The ledger demands", lambda item: str(item["demanded"]), right=True),
        Column("Telemetry has", lambda item: str(item["stored"]), right=True),
    ]
    click.echo("\nWhat was stored:\n")
    for line in table(items, columns, Terminal.of_stdout()):
        click.echo(line)


def _check(runs: Mapping[str, Run]) -> None:
    """Compare, run by run.

    Raises:
        DemoFailed: Something is missing, doubled, or not what the demo is about.
    """
    for name, run in runs.items():
        stored = Counter(event["event_type"] for event in run.events)
        if stored != _demanded(run):
            raise DemoFailed(f"{name}: the ledger demands {dict(_demanded(run))}, telemetry has {dict(stored)}")
        correlations = {event["correlation_id"] for event in run.events}
        if correlations != {run.execution["correlation_id"]}:
            raise DemoFailed(f"{name}: its events carry {len(correlations)} correlation ids")
    if sum("[" in step["path"] for step in runs["triage"].steps) < LEAST_ITEMS:
        raise DemoFailed("the triage did not map over enough items")
    half_way = [step["outcome"] for step in runs["half-way"].steps]
    if half_way != ["succeeded", "failed"]:
        raise DemoFailed(f"the half-way run went {half_way}")
    if runs["dry"].execution["effects"] != [{"entity": "fragment", "operation": "created", "rows": 1}]:
        raise DemoFailed("the dry run does not report what it would have changed")
