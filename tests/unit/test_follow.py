"""Following an execution: what it shows is in the order in which it ended, whatever happens between two questions."""

from __future__ import annotations

from typing import Any

import pytest

from api.cli.follow import StepFeed, StepPrinter
from api.cli.terminal import Terminal
from api.client import Client


class GrowingLedger(Client):
    """An API whose execution goes on between any two questions.

    Args:
        endings: What ends before each question, by ordinal; the last questions see everything.
    """

    def __init__(self, endings: list[tuple[int, ...]]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._endings = endings
        self._ended: dict[int, str] = {}

    def get(self, path: str, query: Any = None, *, wait_s: int = 0) -> Any:  # noqa: ANN401 - as the client's
        for ordinal in self._endings.pop(0) if self._endings else ():
            self._ended[ordinal] = f"2026-01-13T12:00:{len(self._ended):02}Z"
        found = sorted(ordinal for ordinal in self._ended if ordinal > query["after"])[: query["limit"]]
        return {"items": [{"ordinal": ordinal, "occurred_at": self._ended[ordinal]} for ordinal in found]}


@pytest.mark.parametrize(
    "endings",
    [
        [(2,), (3, 1)],
        [(2,), (), (3, 1)],
        [(2,), (), (), (3, 1)],
        [(2, 3, 1)],
        [(), (2,), (3,), (1,)],
        [(3,), (2,), (), (1,)],
    ],
    ids=str,
)
def test_a_map_is_told_after_the_last_of_its_items(endings: list[tuple[int, ...]]) -> None:
    feed = StepFeed(GrowingLedger(list(endings)), "an-id")
    told: list[int] = []
    for _ in range(6):
        told += [step["ordinal"] for step in feed.poll()]
    told += [step["ordinal"] for step in feed.remaining()]

    assert told.index(1) > max(told.index(2), told.index(3))
    assert sorted(told) == [1, 2, 3]


def test_a_step_of_on_failure_says_why_it_failed(capsys: pytest.CaptureFixture[str]) -> None:
    printer = StepPrinter(Terminal())
    for path in ("try", "on_failure:tell"):
        printer.show(
            {
                "path": path,
                "step_type": "notify",
                "outcome": "failed",
                "duration_ms": 1.0,
                "mutations_count": 0,
                "error": {"message": f"{path} did not work"},
            }
        )

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # of the other, its execution's error is told at the end
    assert lines[2] == "    on_failure:tell did not work"
