from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from telemetry.testing import ManualClock
from workers.processes import ServerBusy
from workers.stack.process import Backoff, Supervised
from workers.stack.status import redact

NOBODY = 2**31 - 1


class FakeProcess:
    """A process as the supervisor sees it: no system calls."""

    def __init__(self) -> None:
        self.pid = NOBODY
        self.code: int | None = None
        self.asked = 0

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        self.asked += 1


class Bench:
    """A supervised process on a clock that stands still."""

    def __init__(self, clock: ManualClock, **given: Any) -> None:  # noqa: ANN401 - arguments of Supervised
        self.clock = clock
        self.ready = False
        self.started: list[FakeProcess] = []
        self.failures: Iterator[Exception] = iter(())
        given.setdefault("is_ready", lambda: self.ready)
        self.process = Supervised("worker", self._start, ready_within=60, clock=clock, **given)

    def _start(self) -> FakeProcess:
        for failure in self.failures:
            raise failure
        self.started.append(FakeProcess())
        return self.started[-1]

    def pass_(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.process.look()

    def end(self, code: int = 1) -> None:
        self.started[-1].code = code
        self.process.look()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    return Bench(clock)


def test_waits_double_up_to_half_a_minute_and_a_minute_alive_is_forgiven() -> None:
    backoff = Backoff()

    assert [backoff.after(0) for _ in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    assert backoff.after(59.9) == 30
    assert backoff.after(60) == 0.2


def test_it_runs_once_it_is_ready(bench: Bench) -> None:
    bench.process.start()
    assert (bench.process.state, bench.process.wait()) == ("starting", 0)

    bench.process.look()
    assert bench.process.state == "starting"
    assert bench.process.wait() == pytest.approx(0.05)

    bench.ready = True
    bench.pass_(0.05)
    assert (bench.process.state, bench.process.pid, bench.process.wait()) == ("running", NOBODY, None)
    assert bench.process.since == bench.clock.now()


def test_one_that_cannot_be_asked_runs_once_it_has_lived_half_a_second(clock: ManualClock) -> None:
    bench = Bench(clock, is_ready=None)
    bench.process.start()

    states = []
    for seconds in (0.45, 0.05):
        bench.pass_(seconds)
        states.append(bench.process.state)
    assert states == ["starting", "running"]


def test_what_ends_is_started_again_after_its_wait_and_counted(bench: Bench) -> None:
    bench.process.start()
    bench.end()
    assert (bench.process.state, bench.process.pid, bench.process.restarts) == ("backing_off", None, 0)
    assert bench.process.wait() == pytest.approx(0.2)

    bench.pass_(0.19)
    assert len(bench.started) == 1
    bench.pass_(0.01)
    assert (len(bench.started), bench.process.restarts, bench.process.state) == (2, 1, "starting")

    bench.end(0)
    assert bench.process.wait() == pytest.approx(0.4)


def test_ends_before_it_was_ready_are_counted_until_it_is(bench: Bench) -> None:
    bench.process.start()
    for ends in (1, 2):
        bench.end()
        assert bench.process.early_ends == ends
        bench.pass_(1)
    bench.ready = True
    bench.pass_(1)

    assert bench.process.early_ends == 0


def test_what_cannot_be_started_backs_off_and_says_why(bench: Bench) -> None:
    busy = ServerBusy("somebody is still there")
    bench.failures = iter([busy])

    bench.process.start()
    assert (bench.process.state, bench.process.last_error) == ("backing_off", busy)

    bench.pass_(0.2)
    assert (bench.process.state, bench.process.last_error) == ("starting", None)


def test_what_is_not_ready_in_time_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("workers.stack.process.os.killpg", lambda group, _number: killed.append(group))
    bench.process.start()

    bench.pass_(60.1)

    assert killed == [NOBODY]
    assert bench.process.wait() is None
    bench.end(-9)
    assert bench.process.state == "backing_off"


def test_what_is_told_to_stop_is_not_started_again(bench: Bench) -> None:
    bench.process.start()
    bench.process.stop()
    assert (bench.started[0].asked, bench.process.pid, bench.process.wait()) == (1, NOBODY, None)

    bench.end(0)
    bench.pass_(100)
    assert (bench.process.state, len(bench.started)) == ("stopped", 1)


def test_what_waits_for_its_next_start_stops_at_once(bench: Bench) -> None:
    bench.process.start()
    bench.end()

    bench.process.stop()
    bench.pass_(100)

    assert (bench.process.state, len(bench.started)) == ("stopped", 1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://weir:p%40ss@127.0.0.1:5432/weir", "postgresql://weir:***@127.0.0.1:5432/weir"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("unix://:secret@/home/valkey.sock?db=0", "unix://:***@/home/valkey.sock?db=0"),
        (
            "postgresql://weir@/weir?host=%2Ftmp&password=secret&port=1",
            "postgresql://weir@/weir?host=%2Ftmp&password=***&port=1",
        ),
        ("host=db user=weir password=secret dbname=weir", "host=db user=weir password=*** dbname=weir"),
        ("http://127.0.0.1:7420", "http://127.0.0.1:7420"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact(url) == shown
