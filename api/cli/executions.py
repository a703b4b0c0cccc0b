"""`weir executions`: what was run, and how it went."""

from __future__ import annotations

from typing import IO

import click

from api.cli.completion import slugs
from api.cli.follow import show_step
from api.cli.following import follow_to_end, wait_option
from api.cli.keys import key_header
from api.cli.outcome import show_outcome, tone_of, tries
from api.cli.output import Column, Item, View, item_format, list_format, local_time, print_json, show_page
from api.cli.submit import submit
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, human_duration
from api.cli.waiting import waits_for
from api.client import segment

_NOTHING_YET = "Nothing was run yet. Try: weir run todo.add -i body='buy milk'"

_FIELDS = (
    "id", "command", "state", "dry_run", "user", "space", "request_source", "correlation_id", "attempt", "queued_at",
    "started_at", "finished_at", "queue_wait_ms", "total_duration_ms", "elapsed_ms", "steps_executed",
    "steps_successful", "steps_failed", "steps_skipped", "mutations_count", "slow", "slowest_step", "run_at",
    "expires_at", "waiting_for", "failures", "deaths",
)  # fmt: skip


@click.group(short_help="Look at what was run, cancel it, run it again.")
def executions() -> None:
    """Look at what was run, newest first or one in full; cancel it, run it again, go on where it failed.

    `submit` has many run at once.
    """


executions.add_command(submit)


@executions.command("list")
@click.option("--state", help="Only those in this state.")
@click.option("--command", shell_complete=slugs, help="Only those of this command.")
@click.option("--correlation-id", help="Only those of this trace.")
@click.option("--slow/--not-slow", default=None, help="Only slow ones, or only the others.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_executions(  # noqa: PLR0913 - one argument per option
    state: str | None,
    command: str | None,
    correlation_id: str | None,
    slow: bool | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """List executions, newest first."""
    query = {
        "state": state,
        "command": command,
        "correlation_id": correlation_id,
        "slow": None if slow is None else str(slow).lower(),
        "limit": limit,
        "cursor": cursor,
    }
    with open_client() as client:
        page = client.get("/api/executions", query)
    terminal = Terminal.of_stdout()
    asked = any(value is not None for value in (state, command, correlation_id, slow))
    show_page(page, _view(terminal, "No execution fits." if asked else _NOTHING_YET), form, terminal)


@executions.command("show")
@click.argument("execution_id", metavar="ID")
@click.option("--steps", "with_steps", is_flag=True, help="Its steps, too.")
@item_format
def show_execution(execution_id: str, with_steps: bool, form: str) -> None:
    """Show one execution: its state, result or error, and what it changed."""
    path = f"/api/executions/{segment(execution_id)}"
    with open_client() as client:
        execution = client.get(path)
        steps = list(client.pages(f"{path}/steps", {"limit": 1000})) if with_steps else []
    if form == "json":
        print_json(execution | {"steps": steps} if with_steps else execution)
        return
    terminal = Terminal.of_stdout()
    for label, value in _facts(execution, terminal):
        terminal.say(f"{label:<12} {clean(value)}")
    for step in steps:
        show_step(step, terminal)
    show_outcome(execution, terminal)


@executions.command("follow")
@click.argument("execution_id", metavar="ID")
@wait_option
@item_format
def follow_execution(execution_id: str, wait_s: float | None, form: str) -> None:
    """Show the steps of an execution, those to come as they finish, then what came of it.

    Exits with 1 when it did not succeed, or was not final within --wait. Interrupted, it goes on running.
    """
    with open_client() as client:
        execution = client.get(f"/api/executions/{segment(execution_id)}")
        raise click.exceptions.Exit(follow_to_end(client, execution, wait_s, form))


@executions.command("cancel")
@click.argument("execution_id", metavar="ID")
@item_format
def cancel(execution_id: str, form: str) -> None:
    """Cancel an execution, and those that it waits for.

    One that runs is asked to stop before its next step; a step that goes on longer is interrupted.
    """
    with open_client() as client:
        answer = client.post(f"/api/executions/{segment(execution_id)}/cancel", {})
    _told(answer.body, form, "cancelled" if answer.body["state"] == "cancelled" else "is asked to stop")


_key_option = click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    help="Asked again with the same KEY, it is the same new execution for a day.",
)


@executions.command("retry")
@click.argument("execution_id", metavar="ID")
@click.option("--with", "corrected", type=click.File("r", encoding="utf-8"), help="A corrected command file to run.")
@_key_option
@item_format
def retry(execution_id: str, corrected: IO[str] | None, key: str | None, form: str) -> None:
    """Run an execution that has ended again from its beginning, as a new one with the same inputs."""
    with open_client() as client:
        path = f"/api/executions/{segment(execution_id)}/retry"
        answer = client.post(path, _text(corrected), headers=key_header(key))
    _told(answer.body, form, f"will run, in place of {execution_id}")


@executions.command("resume")
@click.argument("execution_id", metavar="ID")
@click.option("--from", "since", metavar="STEP", help="Run this step and all after it anew.")
@click.option("--with", "corrected", type=click.File("r", encoding="utf-8"), help="A corrected command file to run.")
@_key_option
@item_format
def resume(execution_id: str, since: str | None, corrected: IO[str] | None, key: str | None, form: str) -> None:
    """Go on where an execution failed, as a new one: steps that are done are taken over, and run no more.

    A list.map keeps the list it began with. Where the file of --with writes its `items` or `as` otherwise, it begins
    anew with the new list, and what it did is done again; the answer names it. Steps behind it that are done stay so:
    --from has them run anew, too.
    """
    body = _text(corrected) | ({} if since is None else {"from": since})
    with open_client() as client:
        answer = client.post(f"/api/executions/{segment(execution_id)}/resume", body, headers=key_header(key))
    _told(answer.body, form, f"will go on where {execution_id} ended")
    for path in answer.body["runs_again"]:
        Terminal.of_stderr().say(f"{path} begins anew, for its list is another now: what it did is done again.")


def _text(corrected: IO[str] | None) -> dict[str, str]:
    return {} if corrected is None else {"text": corrected.read()}


def _told(execution: Item, form: str, what: str) -> None:
    if form == "json":
        print_json(execution)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{execution['command']} {what}: {execution['id']}")
    terminal.say(f"  weir executions show {execution['id']}")


def _facts(execution: Item, terminal: Terminal) -> list[tuple[str, str]]:
    wait = human_duration(execution["queue_wait_ms"], unicode=terminal.unicode)
    return [
        ("id", execution["id"]),
        ("command", f"{execution['command']} ({execution['definition_hash'][:12]})"),
        ("asked by", f"{execution['user']} through {execution['request_source']} in space {execution['space']}"),
        ("trace", execution["correlation_id"]),
        *([("waits for", waits_for(execution["waiting_for"]))] if execution["waiting_for"] else []),
        ("queued", local_time(execution["queued_at"]) + (f", waited {wait}" if wait else "")),
        *_dates(execution),
        *([("tries", told)] if (told := tries(execution)) else []),
        ("steps", f"{execution['steps_executed']} run, {execution['steps_failed']} failed, "
                  f"{execution['steps_skipped']} skipped"),
        ("inputs", ", ".join(sorted(execution["inputs"])) or "none"),
    ]  # fmt: skip


def _dates(execution: Item) -> list[tuple[str, str]]:
    """When it will run, and until when it may be begun, as long as that matters."""
    dates = [("due", local_time(execution["run_at"]))] if execution["state"] == "scheduled" else []
    if execution["expires_at"] is not None and execution["started_at"] is None:
        dates.append(("expires", local_time(execution["expires_at"])))
    return dates


def _view(terminal: Terminal, empty: str) -> View:
    def told(item: Item) -> str:
        remarks = [word for word, applies in (("dry run", item["dry_run"]), ("slow", item["slow"])) if applies]
        if (waiting := item["waiting_for"]) is not None and (waiting["reason"] != "worker" or not waiting["workers"]):
            remarks.append("waits for " + str(waiting["reason"]).replace("_", " "))
        return f"{terminal.marks.of(item['state'])} {item['state']}" + (f" ({', '.join(remarks)})" if remarks else "")

    return View(
        (
            Column("STATE", told, shrinks=True, tone=tone_of, least=16),
            Column("COMMAND", lambda item: item["command"], shrinks=True),
            Column("QUEUED", lambda item: local_time(item["queued_at"]), leaves=4),
            Column(
                "DURATION",
                lambda item: human_duration(item["total_duration_ms"], unicode=terminal.unicode),
                right=True,
                leaves=3,
            ),
            Column("STEPS", lambda item: str(item["steps_executed"]), right=True, leaves=2),
            Column("CHANGES", lambda item: str(item["mutations_count"]), right=True, leaves=1),
            Column("ID", lambda item: item["id"]),
        ),
        _FIELDS,
        empty,
    )
