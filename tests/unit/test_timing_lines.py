from __future__ import annotations

import pytest

from api.cli.timing_lines import shown_percent


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0, "0 %"),
        (0.003, "< 0.1 %"),
        (0.1, "0.1 %"),
        (50, "50.0 %"),
        (99.99, "99.9 %"),
        (100, "100 %"),
    ],
)
def test_a_share_is_never_shown_as_more_than_it_is(value: float | None, shown: str) -> None:
    assert shown_percent(value) == shown
