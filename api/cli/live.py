"""`weir telemetry live`: the figures of requests as they end."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlencode

import click

from api.cli.interrupt import tidy
from api.cli.main import INTERRUPTED
from api.cli.output import Column, Item, local_time, table
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean
from api.client import ApiRefused, ApiUnreachable, Client
from telemetry.live.deltas import applied
from telemetry.settings import parse_duration

_PATH = "/api/metrics/live"

#: What requests are of, and what tells them apart: as `telemetry.rollups.metrics` and `telemetry.live.store` have it.
COMPONENTS, BYS = ("chat", "command"), ("command", "user", "space")

_HOME, _CLEAR_LINE, _CLEAR_BELOW, _CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
#: Seconds between two pictures: nobody reads faster.
_PICTURE_S = 0.25
#: Seconds between two lines where nobody looks.
_LINE_S = 1.0
_UNAVAILABLE = 503


@click.command("live", short_help="Show the figures of requests as they end.")
@click.option("--window", default="5m", show_default=True, metavar="MINUTES", help="Whole minutes back: 1m, 30m, 60m.")
@click.option("--component", type=click.Choice(COMPONENTS), help="Only these requests.")
@click.option("--by", type=click.Choice(BYS), help="Tell them apart by this, too.")
@click.option(
    "--for",
    "for_",
    default=None,
    metavar="DURATION",
    help="End after this: 30s, 5m; unless given, Ctrl-C ends it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="On a terminal a table that is kept up to date, else a line when something changed, at most one a second; or"
    " each change as a line of JSON.",
)
def live(window: str, component: str | None, by: str | None, for_: str | None, form: str) -> None:
    """Show rates, latencies, tokens, errors and cache of the requests that ended lately, as they end.

    A request is an execution that has come to its end, or a chat request that has. With --format json the first line is
    all there is, `delta` lines have what has changed since. An API that goes away is asked again.
    """
    query = {name: value for name, value in (("window", window), ("component", component), ("by", by)) if value}
    deadline = math.inf if for_ is None else time.monotonic() + _duration(for_).total_seconds()
    with open_client() as client:
        try:
            with tidy(), _shower(form, by) as shower:
                for said in _said(client, f"{_PATH}?{urlencode(query)}", deadline, shower):
                    _warn(said)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as fault:
        raise click.BadParameter(f"{text!r} is not {fault}", param_hint="--for") from fault


def _warn(error: ApiUnreachable | ApiRefused) -> None:
    Terminal.of_stderr().say(clean(f"{error.detail}; asking again"), "dim")


def _said(client: Client, path: str, deadline: float, shower: _Paced | _Json) -> Iterator[ApiUnreachable | ApiRefused]:
    """Show what is told until the deadline; each time that the API has gone away, why.

    Raises:
        ApiRefused: The query is wrong.
        ApiUnreachable: Nobody answered the first time.
    """
    last_id: str | None = None
    said: Item = {}
    while time.monotonic() < deadline:
        retry_s = 1.0
        try:
            with client.events(path, last_id) as events:
                for event in events.until(deadline):
                    last_id = event.id or last_id
                    said = event.data if event.name == "snapshot" else applied(said, event.data)
                    shower.show(event.name, event.data, said)
                retry_s = events.retry_s
        except (ApiUnreachable, ApiRefused) as error:
            if last_id is None or (isinstance(error, ApiRefused) and error.status != _UNAVAILABLE):
                raise
            yield error
        time.sleep(max(0.0, min(retry_s, deadline - time.monotonic())))


class _Json:
    """Each event as a line."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be shown."""

    def show(self, name: str, data: Item, _said: Item) -> None:
        print(json.dumps({"event": name, **data}), flush=True)


class _Paced:
    """Shows figures at most every so often, and the newest for certain: what comes too soon waits for its turn.

    Nothing more may be told for a minute, so a timer shows what waits; and the end, if that is sooner.
    """

    def __init__(self, shower: _Lines | _Picture, pause_s: float) -> None:
        self._shower = shower
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._due = 0.0
        self._waiting: Item | None = None
        self._timer: threading.Timer | None = None
        self._failed: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            waiting, self._waiting = self._waiting, None
            if waiting is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
                self._shower.show(waiting)

    def show(self, _name: str, _data: Item, said: Item) -> None:
        """Now, or when it is due.

        Raises:
            OSError: Nobody takes what is shown any more.
        """
        with self._lock:
            if self._failed is not None:
                raise self._failed
            self._waiting = said
            wait_s = self._due - time.monotonic()
            if wait_s <= 0:
                self._show()
            elif self._timer is None:
                self._timer = threading.Timer(wait_s, self._show_late)
                self._timer.daemon = True
                self._timer.start()

    def _show_late(self) -> None:
        with self._lock:
            self._timer = None
            try:
                self._show()
            except OSError as error:
                self._failed = error

    def _show(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._due = time.monotonic() + self._pause_s
            self._shower.show(waiting)


class _Lines:
    """A line, for a file or a pipe."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, said: Item) -> None:
        self._terminal.say(f"{local_time(said['as_of'])}  {_state(said)}  {_summary(said['metrics'])}")


class _Picture:
    """A table in one place."""

    def __init__(self, terminal: Terminal, by: str | None) -> None:
        self._terminal = terminal
        self._by = by
        self._is_first = True

    def show(self, said: Item) -> None:
        lines = [
            f"{local_time(said['as_of'])}  the last {said['minutes']:.1f} minutes  {_state(said)}",
            "",
            *table(_rows(said, self._by), _COLUMNS, self._terminal),
        ]
        print((_CLEAR if self._is_first else "") + _HOME, end="")
        self._is_first = False
        for line in lines:
            self._terminal.say(line + _CLEAR_LINE)
        print(_CLEAR_BELOW, end="", flush=True)


def _shower(form: str, by: str | None) -> _Paced | _Json:
    if form == "json":
        return _Json()
    terminal = Terminal.of_stdout()
    return _Paced(_Picture(terminal, by), _PICTURE_S) if terminal.interactive else _Paced(_Lines(terminal), _LINE_S)


def _state(said: Item) -> str:
    """In a few words, what is to be thought of the figures."""
    reasons = ", ".join(said["reasons"]).replace("_", " ")
    return f"{said['state']}{f' ({reasons})' if reasons else ''}"


def _summary(metrics: Item) -> str:
    latency, errors = metrics["total_latency"]["metadata"], metrics["error_rate"]
    return (
        f"{metrics['request_rate']['metadata']['requests']} requests, {_number(metrics['request_rate']['value'])}/min, "
        f"p50 {_number(latency['median'], ' ms')}, p95 {_number(latency['p95'], ' ms')}, "
        f"p99 {_number(latency['p99'], ' ms')}, errors {_number(errors['value'], ' %')}, "
        f"tokens {_number(metrics['total_tokens']['value'])}, "
        f"cache hits {_number(metrics['cache_hit_rate']['value'], ' %')}"
    )


def _rows(said: Item, by: str | None) -> list[Item]:
    rows: list[Item] = [{"name": "all", "metrics": said["metrics"]}]
    if by is not None:
        series = sorted(said["series"].items(), key=lambda item: (-_requests(item[1]), item[0]))
        rows += [{"name": name, "metrics": metrics} for name, metrics in series]
        if _requests(said["other"]):
            rows.append({"name": "(others)", "metrics": said["other"]})
    return rows


def _requests(metrics: Item) -> int:
    requests: int = metrics["request_rate"]["metadata"]["requests"]
    return requests


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else format(value, ",.0f" if value >= 100 else ".3g") + unit  # noqa: PLR2004 - three digits


def _latency(row: Any, name: str) -> str:  # noqa: ANN401 - JSON
    return _number(row["metrics"]["total_latency"]["metadata"][name])


_COLUMNS = (
    Column("REQUESTS OF", lambda row: row["name"], shrinks=True, least=12),
    Column("REQUESTS", lambda row: str(_requests(row["metrics"])), right=True),
    Column("PER MIN", lambda row: _number(row["metrics"]["request_rate"]["value"]), right=True),
    Column("P50 MS", lambda row: _latency(row, "median"), right=True, leaves=4),
    Column("P95 MS", lambda row: _latency(row, "p95"), right=True),
    Column("P99 MS", lambda row: _latency(row, "p99"), right=True, leaves=1),
    Column("ERRORS %", lambda row: _number(row["metrics"]["error_rate"]["value"]), right=True),
    Column("TOKENS", lambda row: _number(row["metrics"]["total_tokens"]["value"]), right=True, leaves=3),
    Column("CACHE %", lambda row: _number(row["metrics"]["cache_hit_rate"]["value"]), right=True, leaves=2),
)
