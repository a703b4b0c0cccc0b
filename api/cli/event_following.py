"""Following what is stored: new events as they arrive, whenever they occurred."""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from api.cli.event_views import only_columns
from api.cli.output import Item, View, print_csv, table
from api.cli.terminal import Terminal
from api.client import MAX_PAGE, ApiRefused, ApiUnreachable, Client

#: Seconds between two looks.
LOOK_EVERY_S = 1.0

#: Ids of events that were shown and are remembered, so that none is shown twice.
_REMEMBERED = 50_000

_UNAVAILABLE = 503


def new_events(client: Client, path: str, query: Mapping[str, object]) -> Iterator[Sequence[Item]]:
    """Events in the order they occurred: first what is there, then with each look what was stored since, for ever.

    A server that is away is asked again.

    Raises:
        ApiRefused: The query is wrong.
        ApiUnreachable: Nobody answered the first time.
    """
    shown = _Remembered(_REMEMBERED)
    page = client.get(path, query)
    yield shown.new(reversed(page["items"]))
    is_away = False
    while True:
        time.sleep(LOOK_EVERY_S)
        since = {**query, "after": page["position"], "limit": MAX_PAGE}
        try:
            page = client.get(path, since)
            items = [*page["items"], *_rest(client, path, since, page["next_cursor"])]
        except (ApiUnreachable, ApiRefused) as error:
            if isinstance(error, ApiRefused) and error.status != _UNAVAILABLE:
                raise
            if not is_away:
                Terminal.of_stderr().say(f"{error.detail}; asking again", "dim")
            is_away = True
            continue
        is_away = False
        if fresh := shown.new(reversed(items)):
            yield fresh


def _rest(client: Client, path: str, query: Mapping[str, object], cursor: str | None) -> Iterator[Item]:
    """The pages after the first."""
    while cursor is not None:
        page = client.get(path, {**query, "cursor": cursor})
        yield from page["items"]
        cursor = page["next_cursor"]


class _Remembered:
    """Which events were shown, the last of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def new(self, items: Iterable[Item]) -> list[Item]:
        """Those that were not shown yet."""
        fresh = [item for item in items if item["event_id"] not in self._ids]
        for item in fresh:
            self._ids[item["event_id"]] = None
        while len(self._ids) > self._size:
            self._ids.popitem(last=False)
        return fresh


class Printer:
    """Prints lists that follow one another as one: a heading once, then lines; JSON as one object a line."""

    def __init__(self, view: View, form: str, columns: Sequence[str], terminal: Terminal) -> None:
        self._view, self._form, self._columns, self._terminal = view, form, columns, terminal
        self._has_heading = False

    def show(self, items: Sequence[Item]) -> None:
        """Some more."""
        if self._form == "json":
            for item in items:
                print(json.dumps(only_columns(item, self._columns)))
        elif items and self._form == "csv":
            print_csv(items, self._view.fields, heading=not self._has_heading)
        elif items:
            for line in table(items, self._view.columns, self._terminal)[self._has_heading :]:
                self._terminal.say(line)
        self._has_heading = self._has_heading or bool(items)
        sys.stdout.flush()


def follow(client: Client, path: str, query: Mapping[str, Any], printer: Printer) -> None:
    """Print new events until somebody interrupts it."""
    for items in new_events(client, path, query):
        printer.show(items)
