"""`weir telemetry rollup`: make roll-ups now, or once more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.event_options import instant
from api.cli.interrupt import tidy
from api.cli.opened_store import opened_store
from api.cli.output import Item, item_format, print_json
from api.cli.progress import progress
from api.cli.stack import home_option
from api.cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from psycopg import Connection

    from telemetry.rollups.aggregator import AggregatorResult

#: How long one round goes on before it is shown how far it is, and the pause while another process is at it.
_ROUND: Final = timedelta(seconds=1)
_PAUSE_S: Final = 0.5


@click.command("rollup", short_help="Make roll-ups now, or those of some time once more.")
@click.option(
    "--start", "--from", "start", metavar="TIME", callback=instant, help="Once more from here: `3d` ago, or RFC 3339."
)
@click.option("--end", "--to", "end", metavar="TIME", callback=instant, help="Up to here, told likewise; now if not.")
@item_format
@home_option
def rollup(start: str | None, end: str | None, form: str, folder: Path | None) -> None:
    """Make the roll-ups of what is over, as the maintenance process does by itself.

    With --from or --to those of that time are made once more from its events, as far as these are kept: figures of
    days whose events are gone stay as they are. Stopped half-way, what is left is made by whoever comes next.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself.
    """
    made = {"minutes": 0, "hours": 0, "days": 0, "buckets": 0}
    with opened_store(folder, "weir telemetry rollup") as connection:
        minutes = _mark(connection, start, end) if start or end else None
        with tidy(), progress("rolling up", minutes) as bar:
            for done in _rounds(connection):
                for name in made:
                    made[name] += getattr(done, name)
                bar.advance(done.minutes)
                if done.is_held:
                    bar.note("another process makes roll-ups")
    if form == "json":
        print_json({**made, "asked_minutes": minutes})
    else:
        _show(made)


def _rounds(connection: Connection[Any]) -> Iterator[AggregatorResult]:
    """Rounds of making them, until nothing is left."""
    from telemetry.clock import SystemClock
    from telemetry.rollups.aggregator import Aggregator

    aggregator = Aggregator(connection, SystemClock(), members_interval=timedelta(0))
    is_done = False
    while not is_done:
        done = aggregator.run_once(_ROUND)
        yield done
        is_done = done.is_done
        if done.is_held:
            time.sleep(_PAUSE_S)


def _mark(connection: Connection[Any], start: str | None, end: str | None) -> int:
    """Have a stretch of time made once more, as if an event of each minute had come; how many minutes."""
    from telemetry.clock import SystemClock, to_unix_us
    from telemetry.partitions import first_day, list_partitions
    from telemetry.store import append_batch

    oldest, now = first_day(list_partitions(connection)), SystemClock().now()
    if oldest is None:
        return 0
    since = max(datetime.fromisoformat(start), oldest) if start else oldest
    until = min(datetime.fromisoformat(end), now) if end else now
    first, last = (to_unix_us(each) // 60_000_000 for each in (since, until))
    with connection.transaction():
        append_batch(connection, events=0, duplicates=0, minutes=range(first, last))
    return max(last - first, 0)


def _show(made: Item) -> None:
    # An hour is made for all, by space and by user, and again when more of its minutes are there: that counts no hours.
    minutes, rows = plural(made["minutes"], "minute"), plural(made["buckets"], "row")
    Terminal.of_stdout().say(f"{minutes} made, and the hours and days that they are in: {rows}")
