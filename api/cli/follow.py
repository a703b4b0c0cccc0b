"""Following an execution until it is final, step by step."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.cli.output import Item
from api.cli.terminal import Terminal, clean, human_duration, plural
from api.client import ApiRefused, Client

#: Map items shown of one map as they finish; the others are counted. Failed ones are always shown.
SHOWN_ITEMS = 5

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "expired", "dead"})

#: Seconds the API may hold back an answer that has no news.
_HELD_BACK_S = 10
#: Seconds between two questions when it does not hold them back: too many wait there, or time is nearly up.
_FIRST_LOOK_S, _LAST_LOOK_S, _GROWTH = 0.02, 0.5, 1.5
_PAGE = 1000
_INDEX = re.compile(r"\[(\d+)\]")


#: What the paths of `on_failure` steps begin with.
_ON_FAILURE = "on_failure:"

#: Codes of an API that has no streams, or none to spare.
_NO_STREAM = frozenset({"route.not_found", "method.not_allowed", "stream.too_many"})


def follow(client: Client, execution: Item, printer: StepPrinter, *, wait_s: float | None) -> Item:
    """Print steps as they finish; the execution as it was last seen: final, or `wait_s` seconds have passed.

    They come as a stream where the API has one to give, else by asking again and again.
    """
    deadline = math.inf if wait_s is None else time.monotonic() + wait_s
    told: set[int] = set()
    try:
        execution = _stream(client, execution, printer, deadline, told)
    except ApiRefused as refused:
        if refused.problem.get("code") not in _NO_STREAM:
            raise
        execution = _poll(client, execution, printer, deadline, StepFeed.after(client, execution["id"], told))
    printer.finish()
    return execution


def _stream(client: Client, execution: Item, printer: StepPrinter, deadline: float, told: set[int]) -> Item:
    """Follow by streams, each going on where the one before was cut off; adds to `told` the ordinals it has printed."""
    path, last_id = f"/api/executions/{execution['id']}", None
    while time.monotonic() < deadline:
        with client.events(f"{path}/events", last_id) as events:
            for event in events.until(deadline):
                last_id = event.id or last_id
                if event.name == "final":
                    final: Item = event.data
                    return final
                if event.name == "step":
                    told.add(event.data["ordinal"])
                    printer.show(event.data)
        if events.is_over:
            break
        time.sleep(max(0, min(events.retry_s, deadline - time.monotonic())))
    latest: Item = client.get(path)
    return latest


def _poll(client: Client, execution: Item, printer: StepPrinter, deadline: float, feed: StepFeed) -> Item:
    """Follow by asking again and again."""
    pause_s = _FIRST_LOOK_S
    while True:
        left_s = deadline - time.monotonic()
        asked_at = time.monotonic()
        news = feed.poll(wait_s=int(min(max(left_s, 0), _HELD_BACK_S)))
        for step in news:
            printer.show(step)
        if not news:
            execution = client.get(f"/api/executions/{execution['id']}")
            if execution["state"] in FINAL_STATES or time.monotonic() >= deadline:
                break
        pause_s = _FIRST_LOOK_S if news else min(pause_s * _GROWTH, _LAST_LOOK_S)
        time.sleep(max(0, min(pause_s - (time.monotonic() - asked_at), deadline - time.monotonic())))
    for step in feed.remaining():
        printer.show(step)
    return execution


@dataclass(slots=True)
class StepFeed:
    """Steps of an execution in the order they end. A step with steps inside begins before them, and ends after.

    Attributes:
        client: Where to ask.
        execution_id: Of which.
    """

    client: Client
    execution_id: str
    _last: int = 0
    _begun: set[int] = field(default_factory=set)

    @classmethod
    def after(cls, client: Client, execution_id: str, told: Collection[int]) -> StepFeed:
        """What is left when some were told already, by their ordinals."""
        last = max(told, default=0)
        return cls(client, execution_id, last, set(range(1, last + 1)).difference(told))

    def poll(self, *, wait_s: int = 0) -> list[dict[str, Any]]:
        """What has ended since the last call; nothing, when nothing ends within `wait_s` seconds or is left to."""
        # First those with steps inside: what has ended by now has ended after all of them, and those come next.
        ended = list(self._ended())
        fresh: list[dict[str, Any]] = []
        while True:
            query = {"after": self._last, "limit": _PAGE}
            page = self.client.get(self._path, query, wait_s=0 if fresh or ended else wait_s)["items"]
            for step in page:
                self._begun.update(range(self._last + 1, step["ordinal"]))
                self._last = step["ordinal"]
            fresh += page
            if len(page) < _PAGE:
                return _as_ended([*ended, *fresh])

    def remaining(self) -> list[dict[str, Any]]:
        """When the execution is final: what has ended and was not told yet."""
        return _as_ended([*self.poll(), *self._ended()])

    def _ended(self) -> Iterator[dict[str, Any]]:
        """Steps that had begun before others that were told, and have ended now."""
        for ordinal in sorted(self._begun):
            for step in self.client.get(self._path, {"after": ordinal - 1, "limit": 1})["items"]:
                if step["ordinal"] == ordinal:
                    self._begun.discard(ordinal)
                    yield step

    @property
    def _path(self) -> str:
        return f"/api/executions/{self.execution_id}/steps"


def _as_ended(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(steps, key=lambda step: datetime.fromisoformat(step["occurred_at"]))


class StepPrinter:
    """Prints a line for each step that ended; of the items of a map the first few, then how many more.

    Args:
        terminal: Where to.
        shown_items: Items of one map.
    """

    def __init__(self, terminal: Terminal, shown_items: int = SHOWN_ITEMS) -> None:
        self._terminal = terminal
        self._shown_items = shown_items
        self._left_out: dict[str, int] = {}

    def show(self, step: Item) -> None:
        path: str = step["path"]
        left_out = self._left_out.pop(path, 0)
        if left_out:
            self._count(path, left_out)
        late = next((index for index in _INDEX.finditer(path) if int(index[1]) >= self._shown_items), None)
        if late is not None and step["outcome"] != "failed":
            of_map = path[: late.start()]
            self._left_out[of_map] = self._left_out.get(of_map, 0) + 1
            return
        show_step(step, self._terminal)

    def finish(self) -> None:
        """Say what was left out of maps that have not ended."""
        for path, count in self._left_out.items():
            self._count(path, count)
        self._left_out.clear()

    def _count(self, path: str, count: int) -> None:
        self._terminal.say(f"  {self._terminal.marks.ellipsis} {plural(count, 'more step')} in {path}", "dim")


def show_step(step: Item, terminal: Terminal) -> None:
    """The line of a step; and why it failed, if that is not the error its execution ends with."""
    tone = "failed" if step["outcome"] == "failed" else ""
    terminal.say(step_line(step, terminal), tone)
    error = step.get("error")
    if error and tone and step["path"].startswith(_ON_FAILURE):
        terminal.say(clean(f"    {error.get('message') or error.get('type', '')}"), tone)


def step_line(step: Item, terminal: Terminal) -> str:
    """`✓ create  fragment.create  3.2 ms  1 change`; what did not succeed says so in a word."""
    outcome = step["outcome"]
    parts = [f"{terminal.marks.of(outcome)} {step['path']:<24}", f"{step['step_type']:<16}"]
    if outcome != "skipped":
        parts.append(f"{human_duration(step['duration_ms'], unicode=terminal.unicode):>8}")
    if outcome != "succeeded":
        parts.append(outcome)
    if step["mutations_count"]:
        parts.append(plural(step["mutations_count"], "change"))
    return "  ".join(parts).rstrip()
