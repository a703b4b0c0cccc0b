"""How processes without HTTP are asked, and what they answer."""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fixtures.apis import Weir
from fixtures.stacks import eventually
from redis import Redis

from telemetry.connections import connect
from telemetry.pipeline import open_sink
from telemetry.recorder import NullRecorder, RecorderStats
from telemetry.settings import TelemetrySettings
from telemetry.testing import ManualClock
from workers import health
from workers.broker import BellBroker, BellConsumer
from workers.health import HealthTaken, HealthUnknown, answering, ask, is_well
from workers.readiness import look_at_postgres, look_at_recorder, look_at_redis
from workers.scheduler import Leadership, Periodic, Scheduler

SOON = timedelta(milliseconds=200)
WELL = {"loop": "ok"}


def test_a_process_says_what_it_sees_at_each_question(open_folder: Path) -> None:
    seen = dict(WELL)
    with answering(open_folder / "health", "sink", lambda: seen):
        assert ask(open_folder / "health", "sink") == WELL
        seen["loop"] = "away"
        assert ask(open_folder / "health", "sink") == {"loop": "away"}
        assert [oct(path.stat().st_mode & 0o777) for path in (open_folder / "health").iterdir()] == ["0o600"]


def test_without_a_folder_nobody_is_answered(open_folder: Path) -> None:
    def look() -> dict[str, str]:
        raise AssertionError

    with answering(None, "sink", look), pytest.raises(HealthUnknown, match="no sink answers"):
        ask(open_folder, "sink")


def test_a_process_that_has_ended_leaves_nothing_behind(open_folder: Path) -> None:
    with answering(open_folder, "sink", lambda: WELL):
        pass

    assert list(open_folder.iterdir()) == []


def test_a_process_that_was_killed_is_not_taken_for_alive_and_its_place_is_free(open_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(open_folder / "sink.sock"))

    with pytest.raises(HealthUnknown, match="no sink answers"):
        ask(open_folder, "sink")
    with answering(open_folder, "sink", lambda: WELL):
        assert ask(open_folder, "sink") == WELL


def test_a_second_process_of_a_name_is_refused_and_the_first_goes_on(open_folder: Path) -> None:
    with answering(open_folder, "sink", lambda: WELL):
        with pytest.raises(HealthTaken, match="another process listens at") as refused, _second(open_folder):
            pass
        assert "WEIR_HEALTH_DIR" in str(refused.value.hint)
        assert ask(open_folder, "sink") == WELL


def _second(folder: Path) -> AbstractContextManager[None]:
    return answering(folder, "sink", lambda: WELL)


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(open_folder: Path) -> None:
    (open_folder / "file").touch()
    for folder in (open_folder / "file", open_folder / ("long" * 40)):
        with pytest.raises(HealthTaken, match="cannot listen at") as refused, _second(folder):
            pass
        assert "WEIR_HEALTH_DIR" in str(refused.value.hint)


def test_a_look_that_takes_too_long_is_no_answer_and_the_next_one_is(open_folder: Path) -> None:
    go_on = Event()

    def look() -> dict[str, str]:
        go_on.wait(10)
        return WELL

    with answering(open_folder, "sink", look):
        with pytest.raises(HealthUnknown, match=r"gave no answer within 0\.2 s"):
            ask(open_folder, "sink", SOON)
        go_on.set()
        assert ask(open_folder, "sink") == WELL


def test_a_look_that_fails_is_not_well_and_says_no_more_than_what_failed(
    open_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> dict[str, str]:
        raise ZeroDivisionError("somebody's text")

    with caplog.at_level(logging.ERROR), answering(open_folder, "sink", look):
        for _ in range(2):
            assert ask(open_folder, "sink") == {"health": f"cannot be seen (ZeroDivisionError, process {os.getpid()})"}
    assert caplog.messages == ["health_not_seen"] * 2


def test_what_answers_with_something_else_is_no_answer(open_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(open_folder / "sink.sock"))
        other.listen()
        with pytest.raises(HealthUnknown, match="gave no answer"):
            ask(open_folder, "sink", SOON)


def test_servers_are_looked_at_where_they_are(database_url: str, empty_database_url: str, redis_url: str) -> None:
    assert look_at_redis(redis_url) == {"redis": "ok"}
    assert look_at_redis("redis://127.0.0.1:1/0") == {"redis": "does not answer"}
    assert look_at_postgres(partial(connect, database_url, name="test")) == {"postgres": "ok", "schema": "ok"}
    assert "0001" in look_at_postgres(partial(connect, empty_database_url, name="test"))["schema"]
    away = look_at_postgres(partial(connect, "postgresql://nobody@127.0.0.1:1/none", name="test"))
    assert away == {"postgres": "does not answer", "schema": "cannot be seen"}


@pytest.mark.req("S-12")
@pytest.mark.parametrize(
    ("stats", "state"),
    [
        (RecorderStats(handed_over=9, dropped={"dsl.step.executed": 4}), "ok"),
        (
            RecorderStats(is_reachable=False, waiting=7),
            "warning: keeps 7 events in memory, for the telemetry stream takes none",
        ),
        (
            RecorderStats(rung="spooling", spooled=40, is_reachable=False),
            "warning: keeps 40 events on disk, for the telemetry stream takes none",
        ),
        (
            RecorderStats(rung="dropping", dropped={"dsl.step.executed": 4, "fragment.created": 1}),
            "warning: has no room for all events, and has lost 5 so far",
        ),
    ],
)
def test_events_that_wait_or_are_lost_are_a_warning_and_no_reason_not_to_work(stats: RecorderStats, state: str) -> None:
    recorder = NullRecorder()
    recorder.stats = lambda: stats  # type: ignore[method-assign]

    assert look_at_recorder(recorder) == {"recorder": state}
    assert is_well({"recorder": state})


def test_the_loop_of_a_sink_comes_round_with_its_servers_and_not_without(
    database_url: str, redis: Redis, redis_url: str, clock: ManualClock
) -> None:
    settings = TelemetrySettings(sink_idle_block=timedelta(milliseconds=10))
    sink = open_sink(settings, database_url=database_url, redis_url=redis_url, clock=clock)
    clock.advance(timedelta(minutes=5))
    redis.set(settings.stream, "not a stream")
    sink.start()
    try:
        eventually(lambda: sink._throttle._next_us != {})
        assert sink.pulse.age == timedelta(minutes=5)
        redis.delete(settings.stream)
        eventually(lambda: sink.pulse.age == timedelta(0))
    finally:
        assert sink.stop()


def test_the_loop_of_a_consumer_comes_round_with_redis_and_not_without(redis_url: str, clock: ManualClock) -> None:
    broker = BellBroker(redis_url, [])
    broker.pulse._clock = clock
    clock.advance(timedelta(hours=1))
    broker.declare_queue("lane.test")
    consumer = BellConsumer(broker, "lane.test", 1, 1000)
    consumer._wait = 0.01
    try:
        assert next(consumer) is None
        assert broker.pulse.age == timedelta(0)
    finally:
        consumer.close()
        broker.close()


def test_the_loop_of_a_scheduler_comes_round_whether_it_leads_or_not(database_url: str) -> None:
    clock = ManualClock()
    leader, standby = Leadership(database_url), Leadership(database_url)
    assert leader.is_held()
    try:
        for leadership in (leader, standby):
            scheduler = Scheduler(leadership, [Periodic("work", timedelta(seconds=2), lambda: None)], clock)
            clock.advance(timedelta(minutes=1))
            assert scheduler.pulse.age == timedelta(minutes=1)
            scheduler.run(_Once())
            assert scheduler.pulse.age == timedelta(0)
    finally:
        leader.release()


class _Once(Event):
    """Stops a loop after its first turn."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_the_command_says_what_the_process_says(
    offline_weir: Weir, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_HEALTH_DIR", str(open_folder))
    with answering(open_folder, "worker", lambda: {"loop": "ok", "redis": "does not answer"}):
        typed = offline_weir("health", "worker")
        assert (typed.code, typed.out) == (1, "loop      ok\nredis     does not answer\n")
    with answering(open_folder, "worker", lambda: {"loop": "ok", "recorder": "warning: loses events"}):
        typed = offline_weir("health", "worker")
        assert (typed.code, typed.out) == (0, "loop      ok\nrecorder  warning: loses events\n")
    with answering(open_folder, "worker", lambda: WELL):
        assert offline_weir("health", "worker").code == 0
        typed = offline_weir("health", "worker", "--format", "json")
        assert (typed.code, typed.json) == (0, {"status": "ok", "checks": WELL, "figures": {}})
    assert "no worker answers" in offline_weir("health", "worker").err


def test_the_command_needs_to_know_where_to_ask(offline_weir: Weir) -> None:
    typed = offline_weir("health", "worker")

    assert typed.code == 2
    assert "WEIR_HEALTH_DIR" in typed.err


def test_an_api_that_is_not_there_is_not_well(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_API_PORT", "1")

    typed = offline_weir("health", "api")

    assert (typed.code, typed.err.splitlines()[0]) == (1, "weir: no api answers at 127.0.0.1:1 (health.unknown)")


class _Crowded(socket.socket):
    """A listener in a process that has no file to spare, once."""

    was_crowded = False

    def accept(self) -> Any:  # noqa: ANN401 - as socket's own
        if not self.was_crowded:
            self.was_crowded = True
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_a_process_that_had_too_many_files_open_answers_again(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[_Crowded] = []

    def crowded(path: Path) -> socket.socket:
        listener = _Crowded(fileno=opening(path).detach())
        opened.append(listener)
        return listener

    opening = health._open
    monkeypatch.setattr(health, "_open", crowded)

    with answering(open_folder, "worker", lambda: WELL):
        assert ask(open_folder, "worker") == WELL

    assert opened[0].was_crowded
