"""`weir telemetry verify`: whether anything is missing, and if so what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from api.cli.main import EXPECTED
from api.cli.output import Column, Item, item_format, local_time, print_json, table
from api.cli.stack import home_option, load_home, running_urls
from api.cli.terminal import Terminal
from api.cli.times import span


@click.command(short_help="Say whether any event is missing, and if so which.")
@click.option(
    "--last", "--time-range", "last", default="24h", show_default=True, help="As far back as this: 15m, 1h, 7d."
)
@item_format
@home_option
def verify(last: str, form: str, folder: Path | None) -> None:
    """Say whether anything is missing of the events that should be stored, and name it. Exits with 1 if so.

    Transport: whether every number that a producer gave has arrived, and what it dropped. Ledger: whether the event of
    every execution, step, change and due time is stored. What has a row is given back within a minute or two; what had
    none (requests, refused submissions) cannot be.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself, so that it works without the API.
    """
    from migrations.runner import require_current
    from telemetry.clock import SystemClock
    from telemetry.completeness import compare_again
    from telemetry.completeness import verify as look
    from telemetry.connections import connect
    from telemetry.store import STATEMENT_TIMEOUT

    length = span(last, "--last")
    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    until = SystemClock().now()
    try:
        since = until - length
    except OverflowError as error:
        raise click.BadParameter(f"{last!r} is longer than there is time", param_hint="--last") from error
    with connect(url, name="weir verify", autocommit=True, statement_timeout=STATEMENT_TIMEOUT) as connection:
        require_current(connection)
        found = look(connection, since, until, silence=settings.telemetry.producer_silence)
        compare_again(connection, found)
    if form == "json":
        print_json(found.public())
    else:
        show(found.public(), Terminal.of_stdout())
    if not found.is_complete:
        raise click.exceptions.Exit(EXPECTED)


def show(found: Item, terminal: Terminal) -> None:
    """Print what was found, for people."""
    window, transport, ledger = found["window"], found["transport"], found["ledger"]
    terminal.say(*_verdict("everything", found["complete"]))
    terminal.say(f"from {local_time(window['since'])}; rows compared up to {local_time(window['checked_until'])}")
    terminal.say()
    terminal.say(*_verdict("transport", transport["complete"], _producers(transport["epochs"])))
    faulty = [epoch for epoch in transport["epochs"] if _has_faults(epoch)]
    if faulty:
        for line in table(faulty, _EPOCHS, terminal):
            terminal.say(line)
    terminal.say()
    terminal.say(*_verdict("ledger", ledger["complete"], f"{sum(ledger['checked'].values())} rows"))
    rows = [{"kind": kind, "checked": count, **_of(ledger, kind)} for kind, count in ledger["checked"].items()]
    for line in table(rows, _KINDS, terminal):
        terminal.say(line)
    for remark in _remarks(found):
        terminal.say()
        terminal.say(remark, "dim")


def _verdict(what: str, is_complete: bool, of: str = "") -> tuple[str, str]:
    said = f"{what}: {'complete' if is_complete else 'NOT COMPLETE'}"
    return f"{said}, {of}" if of else said, "succeeded" if is_complete else "failed"


def _producers(epochs: list[Item]) -> str:
    states = [epoch["state"] for epoch in epochs]
    return f"{len(epochs)} producers, {states.count('open')} at work"


def _has_faults(epoch: Item) -> bool:
    return bool(epoch["missing"] or epoch["dropped"] or epoch["tail_unknown_after"] is not None)


def _of(ledger: Item, kind: str) -> Item:
    return {"missing": ledger["missing"].get(kind, 0), "quarantined": ledger["quarantined"].get(kind, 0)}


def _remarks(found: Item) -> Iterator[str]:
    window, ledger = found["window"], found["ledger"]
    if ledger["waits_since"] is not None:
        since = local_time(ledger["waits_since"])
        yield f"Rows since {since} could not be compared: no sink runs, or a producer is far behind."
    for example in ledger["examples"]:
        yield f"missing: {example['kind']} {example['event_id']} of {local_time(example['occurred_at'])}"
    if found["reconciled"]:
        yield f"{found['reconciled']} events were made again from their rows."
    if window["silent"]:
        yield f"Not heard of, and not waited for: {', '.join(window['silent'])}."
    if window["days_not_kept"]:
        yield f"Events of these days are not kept: {', '.join(window['days_not_kept'])}."
    if found["may_be_missing"]:
        yield "Events without a row (requests, refused submissions) may be missing: nobody can make them again."


def _ranges(epoch: Item) -> str:
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in epoch["missing"][:5]]
    more = len(epoch["missing"]) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _dropped(epoch: Item) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in epoch["dropped"].items())


def _tail(epoch: Item) -> str:
    after = epoch["tail_unknown_after"]
    return "" if after is None else f"unknown after {after}"


_EPOCHS = (
    Column("PRODUCER", lambda epoch: epoch["producer"]),
    Column("BEGAN", lambda epoch: local_time(epoch["started_at"])),
    Column("STATE", lambda epoch: epoch["state"]),
    Column("GIVEN", lambda epoch: str(epoch["given"]), right=True),
    Column("MISSING", _ranges, shrinks=True),
    Column("DROPPED", _dropped, shrinks=True),
    Column("TAIL", _tail),
    Column("HEALED", lambda epoch: "yes" if epoch["healed"] else "no"),
)

_KINDS = (
    Column("ROWS", lambda row: row["kind"]),
    Column("COMPARED", lambda row: str(row["checked"]), right=True),
    Column("MISSING", lambda row: str(row["missing"]), right=True, tone=lambda row: "failed" if row["missing"] else ""),
    Column("IN QUARANTINE", lambda row: str(row["quarantined"]), right=True),
)
