"""`weir telemetry cleanup`: delete what is too old or too much, and say what goes first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from api.cli.event_options import OF_EVENTS
from api.cli.main import EXPECTED
from api.cli.output import Column, Item, item_format, local_time, print_json, table
from api.cli.progress import progress, sized
from api.cli.stack import home_option, load_home, running_urls
from api.cli.terminal import Terminal, clean, plural
from api.cli.times import span


@click.command(short_help="Delete what is too old or too much; --dry-run shows sizes and what would go.")
@click.option("--dry-run", is_flag=True, help="Only show sizes, and what would go.")
@click.option("--older-than", help="Telemetry older than this, instead of what the settings say: 30d, 12h.")
@click.option("--component", type=OF_EVENTS, help="Only events of this component: tool, http, ...")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option(
    "--archive",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write what goes to files in this folder before it goes: JSON lines, compressed, with checksums.",
)
@item_format
@home_option
def cleanup(  # noqa: PLR0913 - one per option
    dry_run: bool,
    older_than: str | None,
    component: str | None,
    force: bool,
    archive: Path | None,
    form: str,
    folder: Path | None,
) -> None:
    """Delete what is too old or too much, by the settings WEIR_RETENTION_..., as is done by itself once a day.

    Events go by whole days in UTC. Errors stay longer than their day, and so do the rows of traces that end in a later
    one. With --older-than or --component, executions and notifications are left alone. Shows what would go and asks
    first, unless told not to.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself, so that it works without the API.
    """
    from migrations.runner import require_current
    from telemetry.clock import SystemClock
    from telemetry.connections import connect
    from workers.services.cleaner import STATEMENT_TIMEOUT, Cleaner, Request

    age = None if older_than is None else _age(older_than, SystemClock().now())
    asked = Request(older_than=age, component=component, archive=archive)
    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    require_current(url)
    connecting = partial(connect, url, name="weir cleanup", autocommit=True, statement_timeout=STATEMENT_TIMEOUT)
    cleaner = Cleaner(connecting, settings.workers.retention, SystemClock())
    logs = _log_files(home.logs, settings.servers.log_days)
    terminal = Terminal.of_stdout() if form == "table" else None
    if dry_run or not force:
        plan = cleaner.run_once(replace(asked, dry_run=True), patience=None).public()
        if dry_run or not plan["going_rows"] + plan["freed_bytes"]:
            _tell({**plan, **logs}, terminal, dry_run=dry_run)
            return
        if terminal is not None:
            show({**plan, **logs}, terminal, dry_run=True)
        _confirm()
    with progress("cleaning") as bar:
        done = cleaner.run_once(asked, patience=None, say=bar.note).public()
    _tell({**done, **logs}, terminal, dry_run=False)
    if not done["done"]:
        raise click.exceptions.Exit(EXPECTED)


def show(found: Item, terminal: Terminal, *, dry_run: bool) -> None:
    """Print what would go, or went, for people."""
    for line in table(found["kinds"], _columns(dry_run=dry_run), terminal):
        terminal.say(line)
    for line in _lines(found):
        terminal.say(line, "dim")
    verb = "would go" if dry_run else "went"
    terminal.say()
    terminal.say(f"{found['going_rows']} rows {verb}; whole days of events: {sized(found['freed_bytes'])} of disk.")
    files = found["log_files"]
    of_logs = f"{plural(files['files'], 'log file')} in {clean(files['folder'])}: {sized(files['bytes'])}"
    terminal.say(f"{of_logs}; `weir up` deletes those that are older than {plural(files['days'], 'day')}.", "dim")
    if found["held_days"]:
        terminal.say(f"In use all the time, and still there: {', '.join(found['held_days'])}. Try again.", "failed")


def _log_files(folder: Path, days: int) -> dict[str, Any]:
    from workers.stack.log_file import measure

    found = measure(folder)
    return {"log_files": {"folder": str(folder), "files": found.files, "bytes": found.bytes, "days": days}}


def _age(text: str, now: datetime) -> timedelta:
    age = span(text, "--older-than")
    try:
        now - age
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is longer than there is time", param_hint="--older-than") from error
    return age


def _tell(found: Item, terminal: Terminal | None, *, dry_run: bool) -> None:
    if terminal is None:
        print_json({"dry_run": dry_run, **found})
    else:
        show(found, terminal, dry_run=dry_run)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: say --force, or --dry-run to see what would go.")
    click.confirm("Delete this?", abort=True, err=True)


def _lines(found: Item) -> Iterator[str]:
    for kind in found["kinds"]:
        for day in kind["days"]:
            of = f" of {day['component']}" if day["component"] else ""
            yield f"{day['day']}: {day['rows']} events{of} ({_REASONS[day['reason']]})"


def _columns(*, dry_run: bool) -> tuple[Column, ...]:
    return (
        Column("KIND", lambda kind: kind["kind"]),
        Column("TABLE", lambda kind: kind["table"], leaves=1),
        Column("ROWS", lambda kind: str(kind["rows"]), right=True),
        Column("SIZE", lambda kind: sized(kind["bytes"]), right=True),
        Column("OLDER THAN", lambda kind: local_time(kind["before"])),
        Column("WOULD GO" if dry_run else "WENT", lambda kind: str(kind["going_rows"]), right=True),
    )


_REASONS = {"age": "too old", "rows": "too many events", "bytes": "too many bytes"}
