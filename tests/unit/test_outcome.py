from __future__ import annotations

from typing import Any

import pytest

from api.cli.outcome import show_outcome
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
