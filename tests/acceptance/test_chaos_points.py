"""A short run of the chaos harness: workers are killed at random points of one command, many times."""

from __future__ import annotations

import pytest
from chaos.harness import Harness, points
from fixtures.folders import make_open_folder


@pytest.mark.timeout(900)
@pytest.mark.req("D-01")
def test_workers_killed_at_random_points_of_a_command_leave_every_effect_once() -> None:
    with make_open_folder() as root:
        report = Harness(points(seed=12, seconds=300.0, number=10), root, print).carry_out()

    assert report.differences == [], report.diff()
    assert report.points >= 10
