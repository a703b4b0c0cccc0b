"""The scenarios of the page for people, step by step as it has them."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.alerting import MINUTE, Alerting
from fixtures.apis import Api, Weir

from dsl.channels import make_channels
from telemetry.clock import SystemClock
from telemetry.partitions import make_days
from telemetry.testing import ManualClock
from workers.alerting.post import Post

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "try-alerts.md"

#: What a person does, in order: types a command and sees lines, or waits, or had something run that is stored by now.
_STEP = re.compile(r"<!-- (?P<wait>\w+) -->|^\$ weir (?P<typed>.+)\n(?P<shown>(?:(?![$`]).+\n)*)", re.MULTILINE)


@pytest.mark.req("A-07", "A-13")
def test_the_page_can_be_followed(busy_api: Api, weir: Weir) -> None:
    held = busy_api.resources
    clock = ManualClock(SystemClock().now().replace(second=0, microsecond=0) + MINUTE)
    with held.pool.connection() as connection:
        make_days(connection, [clock.now().replace(hour=0, minute=0), clock.now() + timedelta(days=1)])
    alerting = Alerting(held.pool, clock)
    post = Post(held.pool, clock, make_channels(held.workers.dsl.channels, clock), held.workers.alerts)

    def go_by(duration: timedelta) -> None:
        clock.advance(duration)
        alerting.evaluator.run_once()
        post.run_once()

    def type_in(command: str) -> str:
        if "ALERT" in command:
            command = command.replace("ALERT", str(alerting.alerts[0].id))
        if "SILENCE" in command:
            command = command.replace("SILENCE", weir("alerts", "silences", "--format", "json").json["items"][0]["id"])
        said = weir(*shlex.split(command))
        assert said.code == 0 or "weir:" in said.err or "failed" in said.out, (command, said)
        return said.out + said.err

    waits = {
        "round": lambda: go_by(timedelta(seconds=30)),
        "minute": lambda: go_by(MINUTE),
        "request": lambda: alerting.requests(20),
    }
    steps = list(_STEP.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(steps) > 25
    for step in steps:
        if step["wait"]:
            waits[step["wait"]]()
            continue
        said = type_in(step["typed"])
        for line in step["shown"].splitlines():
            assert line in said, (step["typed"], line, said)
