from __future__ import annotations

from typing import Any

import pytest

from api.cli.outcome import show_outcome, tries
from api.cli.terminal import Terminal


def execution(**effect: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "command": "hello",
        "state": "succeeded",
        "total_duration_ms": 1.0,
        "dry_run": False,
        "effects": [effect],
        "error": None,
        "result": None,
    }


@pytest.mark.parametrize(
    ("entity", "rows", "said"),
    [
        pytest.param("fragment", 1, "1 fragment was updated", id="one fragment"),
        pytest.param("fragment", 2, "2 fragments were updated", id="fragments"),
        pytest.param("tasks", 1, "1 row of tasks was updated", id="one row of a declared table"),
        pytest.param("tasks", 2, "2 rows of tasks were updated", id="rows of a declared table"),
    ],
)
def test_changes_are_counted_in_words_that_fit_any_table(
    entity: str, rows: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_outcome(execution(entity=entity, rows=rows, operation="updated"), Terminal.of_stdout())

    assert f"  {said}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("elapsed_ms", "said"),
    [
        (None, "hello succeeded in 1.0 ms\n"),
        (99.0, "hello succeeded in 1.0 ms\n"),
        (2001.0, "hello succeeded in 1.0 ms, 2.0 s with waiting\n"),
    ],
)
def test_what_was_waited_is_said_beside_what_was_run(
    elapsed_ms: float | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_outcome(execution(entity="tasks", rows=1, operation="updated") | {"elapsed_ms": elapsed_ms}, Terminal())

    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "attempt", "failures", "deaths", "said"),
    [
        pytest.param("succeeded", 6, 0, 0, "", id="woken up five times"),
        pytest.param("succeeded", 2, 1, 0, "1 try failed", id="the second did"),
        pytest.param("failed", 9, 2, 0, "3 tries failed", id="three failed, and it waited"),
        pytest.param("failed", 1, 0, 1, "1 try failed, 1 worker lost", id="after a death"),
        pytest.param("dead", 3, 1, 2, "1 try failed, 2 workers lost", id="dead"),
        pytest.param("expired", 0, 0, 0, "", id="never begun"),
    ],
)
def test_tries_that_failed_and_workers_lost_are_told_apart_from_wake_ups(
    state: str, attempt: int, failures: int, deaths: int, said: str
) -> None:
    counts = {"state": state, "failures": failures, "deaths": deaths}

    assert tries({**counts, "attempt": attempt}) == tries({**counts, "attempts": attempt}) == said
