"""`weir telemetry verify`: whether anything is missing, and if so what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from api.cli.compared_rollups import compared, show_compared
from api.cli.main import EXPECTED
from api.cli.output import Column, Item, item_format, local_time, print_json, table
from api.cli.stack import home_option, load_home, running_urls
from api.cli.terminal import Terminal, plural
from api.cli.times import span


@click.command(short_help="Say whether any event is missing, and if so which.")
@click.option(
    "--last",
    "--time-range",
    "last",
    metavar="DURATION",
    default="24h",
    show_default=True,
    help="As far back as this: 15m, 1h, 7d.",
)
@click.option("--rollups", "with_rollups", is_flag=True, help="Also make every roll-up of that time anew, and compare.")
@item_format
@home_option
def verify(last: str, with_rollups: bool, form: str, folder: Path | None) -> None:
    """Say whether anything is missing of the events that should be stored, and name it. Exits with 1 if so.

    Also if it cannot be known: nothing was heard of any process for two minutes, or one holds back what is older.

    Transport: whether every number that a producer gave has arrived, and what it dropped. Ledger: whether the event of
    every execution, step, change and due time is stored. What has a row is given back within a minute or two; what had
    none (requests, refused submissions) cannot be.

    Roll-ups: every one that is made, and whose events are kept, is made anew and compared: counts, sums and bins.

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
        rolled_up = compared(connection, since, until) if with_rollups else None
    if form == "json":
        print_json(found.public() if rolled_up is None else {**found.public(), "rollups": rolled_up})
    else:
        terminal = Terminal.of_stdout()
        show(found.public(), terminal)
        if rolled_up is not None:
            show_compared(rolled_up, terminal)
    if not found.is_complete or (rolled_up is not None and rolled_up["differences_count"]):
        raise click.exceptions.Exit(EXPECTED)


def show(found: Item, terminal: Terminal) -> None:
    """Print what was found, for people."""
    window, transport, ledger = found["window"], found["transport"], found["ledger"]
    terminal.say(*_verdict("everything", found["complete"]))
    terminal.say(f"from {local_time(window['since'])}; {_compared(window)}")
    if not found["current"]:
        terminal.say(_behind(window), "failed")
    terminal.say()
    terminal.say(*_verdict("transport", transport["complete"], _producers(transport["epochs"])))
    faulty = [epoch for epoch in transport["epochs"] if _has_faults(epoch)]
    if faulty:
        for line in table(faulty, _EPOCHS, terminal):
            terminal.say(line)
    terminal.say()
    terminal.say(*_verdict("ledger", ledger["complete"], plural(sum(ledger["checked"].values()), "row")))
    rows = [{"kind": kind, "checked": count, **_of(ledger, kind)} for kind, count in ledger["checked"].items()]
    for line in table(rows, _KINDS, terminal):
        terminal.say(line)
    for paragraph in _remarks(found):
        terminal.say()
        for line in paragraph:
            terminal.say(line, "dim")


def _compared(window: Item) -> str:
    if window["checked_until"] <= window["since"]:
        return "no rows of then could be compared yet"
    return f"rows compared up to {local_time(window['checked_until'])}"


def _behind(window: Item) -> str:
    """Why the newest of it is not known, and where to look."""
    until, heard, held = (datetime.fromisoformat(window[name]) for name in ("until", "heard_at", "watermark"))
    if until - heard >= heard - held:
        since = local_time(window["heard_at"])
        return f"Nothing was heard of since {since}: no sink stores anything, or nothing was recorded after a crash."
    since = local_time(window["watermark"])
    return f"{window['held_by']} holds back what occurred since {since}: `weir health NAME` and `GET /readyz` say why."


def _verdict(what: str, is_complete: bool, of: str = "") -> tuple[str, str]:
    said = f"{what}: {'complete' if is_complete else 'NOT COMPLETE'}"
    return f"{said}, {of}" if of else said, "succeeded" if is_complete else "failed"


def _producers(epochs: list[Item]) -> str:
    states = [epoch["state"] for epoch in epochs]
    return f"{plural(len(epochs), 'producer')}, {states.count('open')} at work"


def _has_faults(epoch: Item) -> bool:
    return bool(epoch["missing"] or epoch["dropped"] or epoch["tail_unknown_after"] is not None)


def _of(ledger: Item, kind: str) -> Item:
    return {"missing": ledger["missing"].get(kind, 0), "quarantined": ledger["quarantined"].get(kind, 0)}


def _remarks(found: Item) -> Iterator[list[str]]:
    window, examples = found["window"], found["ledger"]["examples"]
    if examples:
        yield [f"missing: {each['kind']} {each['event_id']} of {local_time(each['occurred_at'])}" for each in examples]
        more = sum(found["ledger"]["missing"].values()) - len(examples)
        given_back = "Rows give their events back in a minute or two: ask again then."
        yield [f"And {more:,} more. {given_back}" if more else given_back]
    if lost := _lost(found["transport"]["epochs"]):
        yield [f"Dropped, and lost for good, for they have no row: {lost}."]
    if found["reconciled"]:
        yield [f"Made again from rows: {plural(found['reconciled'], 'event')}."]
    if window["silent"]:
        yield [f"Not heard of, and not waited for: {', '.join(window['silent'])}."]
    if window["days_not_kept"]:
        yield [f"Events of these days are not kept: {', '.join(window['days_not_kept'])}."]
    if found["may_be_missing"]:
        yield ["Events without a row (requests, refused submissions) may be missing: nobody can make them again."]


def _lost(epochs: list[Item]) -> str:
    """What was dropped and has no row, by type."""
    lost: Counter[str] = Counter()
    for epoch in epochs:
        lost.update(epoch["lost"])
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(lost.items()))


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
    Column("BEGAN", lambda epoch: local_time(epoch["started_at"]), leaves=1),
    Column("STATE", lambda epoch: epoch["state"], leaves=3),
    Column("GIVEN", lambda epoch: str(epoch["given"]), right=True, leaves=2),
    Column("MISSING", _ranges, shrinks=True),
    Column("DROPPED", _dropped, shrinks=True, least=20),
    Column("TAIL", _tail),
    Column("HEALED", lambda epoch: "yes" if epoch["healed"] else "no"),
)

_KINDS = (
    Column("ROWS", lambda row: row["kind"]),
    Column("COMPARED", lambda row: str(row["checked"]), right=True),
    Column("MISSING", lambda row: str(row["missing"]), right=True, tone=lambda row: "failed" if row["missing"] else ""),
    Column("IN QUARANTINE", lambda row: str(row["quarantined"]), right=True),
)
