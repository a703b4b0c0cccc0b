"""What findings add up to, whatever looks do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import click
import pytest

from api.cli.main import weir
from telemetry.testing import ManualClock
from workers.checkup.finding import Check, Finding, Status, Surroundings, graded, worst
from workers.checkup.look import CHECKS, about, look_at_all
from workers.checkup.report import report
from workers.settings import ServerSettings, WorkerSettings


def finding(status: Status, name: str = "one", component: str = "some") -> Finding:
    return Finding(name, component, status, "as it is")


def surroundings(clock: ManualClock) -> Surroundings:
    return Surroundings(None, ServerSettings(), WorkerSettings(), clock)


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        ((), "healthy"),
        (("healthy", "healthy"), "healthy"),
        (("healthy", "unknown"), "warning"),
        (("warning", "unknown"), "warning"),
        (("critical", "warning", "unknown"), "critical"),
    ],
)
def test_the_whole_is_as_good_as_its_worst_part(statuses: tuple[Status, ...], overall: str) -> None:
    assert worst(map(finding, statuses)) == overall


@pytest.mark.parametrize(("value", "status"), [(9, "healthy"), (10, "warning"), (19.9, "warning"), (20, "critical")])
def test_a_limit_is_the_first_bad_value(value: float, status: str) -> None:
    assert graded(value, 10, 20) == status


def test_what_raises_is_unknown_and_the_rest_is_looked_at(clock: ManualClock) -> None:
    def breaks(check: Check, at: Surroundings) -> Iterable[Finding]:
        yield check.found("healthy", "so far")
        raise OSError

    def works(check: Check, at: Surroundings) -> Iterable[Finding]:
        yield check.found("healthy", "well")

    checks = [Check("a", "x", breaks, in_database=False), Check("b", "x", works, in_database=False)]

    found = look_at_all(surroundings(clock), checks)

    assert [(each.name, each.status) for each in found] == [("a", "unknown"), ("b", "healthy")]


def test_what_is_left_when_the_time_is_up_is_unknown(clock: ManualClock) -> None:
    def slow(check: Check, at: Surroundings) -> Iterable[Finding]:
        clock.advance(timedelta(seconds=4))
        yield check.found("healthy", "at last")

    checks = [Check(name, "x", slow, in_database=False) for name in "abc"]

    found = look_at_all(surroundings(clock), checks)

    assert [each.status for each in found] == ["healthy", "healthy", "unknown"]


def test_names_of_checks_are_told_apart_and_each_has_a_way_on() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.fix for check in CHECKS)


def test_a_report_of_one_component_still_tells_of_the_account() -> None:
    everything = [finding("healthy", "stream", "account"), finding("critical", "disk", "disk")]
    now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

    whole = report(everything, everything, now)
    part = report(everything, about(everything, "account"), now)

    assert (whole["overall_health"], whole["status"]) == ("critical", "degraded")
    assert (part["overall_health"], part["status"], part["checks"]) == ("healthy", "ok", {"stream": "ok"})
    assert whole["components"] == [
        {"component": "account", "status": "healthy"},
        {"component": "disk", "status": "critical"},
    ]


def test_what_mends_something_is_a_command_there_is() -> None:
    for words in (check.fix.split() for check in CHECKS if check.fix.startswith("weir ")):
        command: click.Command = weir
        for word in words[1:]:
            if not isinstance(command, click.Group):
                break
            with click.Context(command) as context:
                found = command.get_command(context, word)
            assert found is not None, words
            command = found
