"""Due times and what becomes of them: each has one row, and an execution where it is run.

Every policy of a schedule, on one clock and one database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import dict_row
from structlog.testing import capture_logs

from dsl.library import Library
from dsl.scheduling.spec import Misfire, Overlap, ScheduleSpec
from dsl.steps import REGISTRY
from telemetry.clock import to_unix_us
from telemetry.events import Event, ScheduleMissed, ScheduleSkipped, ScheduleTriggered, Scope, event_type
from telemetry.ids import new_id
from telemetry.testing import NOON, ManualClock
from workers.errors import BackfillTooLarge, ScheduleDeclared, ScheduleNameTaken, ScheduleNotFound
from workers.occurrences import MAX_WAITING, Occurrence
from workers.schedule import Schedule
from workers.schedules import MAX_BACKFILL, Schedules
from workers.services.declarer import Declarer
from workers.services.ticker import Ticker
from workers.stops import Stops
from workers.testing import World

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)

#: Well within every day's 24 hours, whatever the zone: NOON is on the hour.
HOURLY = ScheduleSpec(every=HOUR)

TELL = "slug: tell\ninputs: {n: {type: integer}}\nsteps: [{id: say, type: respond, with: {value: done}}]\n"
FAIL = "slug: fail\nsteps: [{id: check, type: validate, with: {rules: [{value: '', required: true}]}}]\n"


class Bench:
    """Schedules of a world, a scheduler that ticks when told to, and files of commands."""

    def __init__(self, world: World, clock: ManualClock, folder: Path) -> None:
        self.world = world
        self.clock = clock
        self.folder = folder
        self.folder.mkdir()
        world.folders = [folder]
        self.write("tell", TELL)
        self.write("fail", FAIL)
        self.schedules: Schedules = world.schedules()
        self.ticker = Ticker(world.occurrences(), clock)
        self.again_in: timedelta | None = None

    def write(self, slug: str, text: str) -> None:
        (self.folder / f"{slug}.yaml").write_text(text, encoding="utf-8")

    def create(self, spec: ScheduleSpec = HOURLY, slug: str = "tell", name: str = "it") -> Schedule:
        return self.schedules.create(name, slug, spec)

    def tick(self, after: timedelta = timedelta(0)) -> None:
        """Let time pass, and tick until nothing is left to do."""
        self.clock.advance(after)
        while (result := self.ticker.run_once()).again_in == timedelta(0) or result.released:
            pass
        self.again_in = result.again_in

    def run(self) -> int:
        """Run what was submitted."""
        self.world.attend()
        return self.world.runner().run_lane("default")

    def rows(self, schedule: Schedule) -> list[Occurrence]:
        """Oldest first."""
        return self.schedules.occurrences(schedule, limit=100_000)[::-1]

    def states(self, schedule: Schedule) -> list[tuple[int, str, str | None]]:
        """Minutes after NOON, state and reason of every occurrence, oldest first."""
        return [((row.due_at - NOON) // MINUTE, row.state, row.reason) for row in self.rows(schedule)]


@pytest.fixture
def bench(world: World, clock: ManualClock, tmp_path: Path) -> Bench:
    return Bench(world, clock, tmp_path / "commands")


@pytest.mark.req("D-04", "C-11")
def test_what_is_due_is_run_once_with_its_schedule_trace_and_lateness(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, inputs={"n": 7}, user="Ada", priority=2))
    bench.tick(HOUR - SECOND)
    assert bench.rows(schedule) == []
    assert bench.again_in == SECOND

    bench.tick(SECOND + timedelta(milliseconds=40))
    bench.tick()

    (row,) = bench.rows(schedule)
    assert (row.due_at, row.state, row.origin) == (NOON + HOUR, "fired", "calendar")
    assert row.lateness_us == 40_000
    assert row.execution_id is not None
    execution = bench.world.executions.get(row.execution_id)
    assert (execution.slug, execution.inputs, execution.user_name) == ("tell", {"n": 7}, "Ada")
    assert (execution.request_source, execution.link, execution.priority) == ("schedule", "scheduled_by", 2)
    assert (execution.schedule_id, execution.parent_id) == (schedule.id, None)
    assert execution.correlation_id == row.correlation_id
    triggered, queued = bench.world.recorder.events
    assert isinstance(triggered, ScheduleTriggered)
    assert triggered.schedule_id == schedule.id.bytes
    assert triggered.lateness_us == 40_000
    assert triggered.scope == queued.scope
    assert bench.run() == 1


def test_inputs_may_name_the_due_time_in_the_zone_of_the_schedule(bench: Bench) -> None:
    bench.write("day", "slug: day\nsteps: [{id: say, type: respond, with: {value: 1}}]\n")
    spec = ScheduleSpec(
        cron="0 1 * * *", timezone="Asia/Tokyo", inputs={"day": "{{ due_at | date: '%Y-%m-%d' }} {{ schedule }}"}
    )
    schedule = bench.create(spec, "day")

    bench.tick(timedelta(hours=5))

    (row,) = bench.rows(schedule)
    assert row.execution_id is not None
    assert bench.world.executions.get(row.execution_id).inputs == {"day": "2026-01-14 it"}


@pytest.mark.req("S-13")
@pytest.mark.parametrize(
    ("misfire", "window", "expected"),
    [
        ("skip", "1d", [(n, "missed", "late") for n in range(60, 361, 60)]),
        ("latest", "1d", [*((n, "missed", "superseded") for n in range(60, 301, 60)), (360, "late", None)]),
        ("latest", "5m", [(n, "missed", "window") for n in range(60, 361, 60)]),
        ("all", "1d", [*((n, "caught_up", None) for n in range(60, 301, 60)), (360, "late", None)]),
        (
            "all",
            "150m",
            [
                *((n, "missed", "window") for n in range(60, 181, 60)),
                (240, "caught_up", None),
                (300, "caught_up", None),
                (360, "late", None),
            ],
        ),
    ],
)
def test_a_sleep_of_six_hours_leaves_no_gap_in_the_ledger(
    bench: Bench, misfire: Misfire, window: str, expected: list[tuple[int, str, str | None]]
) -> None:
    hours = {"1d": timedelta(days=1), "5m": timedelta(minutes=5), "150m": timedelta(minutes=150)}
    schedule = bench.create(ScheduleSpec(every=HOUR, misfire=misfire, window=hours[window], overlap="allow"))
    bench.tick()

    bench.clock.set(NOON + timedelta(hours=6, minutes=10))  # the monotonic clock stood still
    bench.tick()

    assert bench.states(schedule) == expected
    bench.tick()
    assert bench.states(schedule) == expected
    bench.tick(timedelta(minutes=50))
    assert bench.states(schedule)[-1] == (420, "fired", None)


@pytest.mark.parametrize(
    ("by", "said"),
    [(timedelta(hours=6, minutes=1), "host_resumed"), (timedelta(hours=-1), "clock_jumped"), (MINUTE / 20, None)],
)
def test_the_log_says_when_the_machine_was_asleep(
    bench: Bench, log_lines: list[dict[str, Any]], by: timedelta, said: str | None
) -> None:
    bench.create(ScheduleSpec(every=HOUR, misfire="latest"))
    bench.tick()
    bench.clock.set(NOON + by)
    log_lines.clear()

    bench.tick()

    events = [line["event"] for line in log_lines if line["event"] in {"host_resumed", "clock_jumped"}]
    assert events == ([said] if said else [])
    if said == "host_resumed":
        (passed,) = [line for line in log_lines if line["event"] == "due_times_passed"]
        assert passed | {"late": 1, "missed": 5, "asleep_s": 21_660} == passed


def test_a_clock_that_is_set_back_fires_nothing_twice(bench: Bench) -> None:
    schedule = bench.create(HOURLY)
    bench.tick(timedelta(hours=3))
    before = bench.rows(schedule)

    bench.clock.set(NOON)
    for _ in range(4):
        bench.tick(HOUR)

    after = bench.rows(schedule)
    assert after[: len(before)] == before
    assert [(row.due_at - NOON) // HOUR for row in after] == [1, 2, 3, 4]


def test_a_clock_that_is_set_back_before_a_change_of_the_timing_fires_nothing_twice(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="allow"))
    bench.tick(timedelta(hours=3))
    bench.clock.set(NOON)

    bench.schedules.change(schedule, "it", "tell", ScheduleSpec(every=HOUR / 2, overlap="allow"))
    for _ in range(8):
        bench.tick(HOUR / 2)

    assert [(row.due_at - NOON) / HOUR for row in bench.rows(schedule)] == [1, 2, 3, 3.5, 4]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("allow", [(60, "fired", None), (120, "fired", None), (180, "fired", None)]),
        ("skip", [(60, "fired", None), (120, "skipped", "overlap"), (180, "skipped", "overlap")]),
        ("queue", [(60, "fired", None), (120, "waiting", None), (180, "waiting", None)]),
    ],
)
def test_an_execution_that_is_not_final_decides_by_the_overlap(
    bench: Bench, overlap: Overlap, expected: list[tuple[int, str, str | None]]
) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap=overlap))

    for _ in range(3):
        bench.tick(HOUR)

    assert bench.states(schedule) == expected


def test_what_waits_is_run_one_after_the_other_when_its_turn_has_come(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="queue"))
    for _ in range(3):
        bench.tick(HOUR)

    seen = []
    for _ in range(3):
        assert bench.run() == 1
        bench.tick()
        seen.append([state for _, state, _ in bench.states(schedule)])

    assert seen == [
        ["fired", "caught_up", "waiting"],
        ["fired", "caught_up", "fired"],
        ["fired", "caught_up", "fired"],
    ]
    rows = bench.rows(schedule)
    assert [event_type(event) for event in bench.world.recorder.events].count("schedule.triggered") == 3
    assert rows[1].lateness_us == HOUR // timedelta(microseconds=1)


def test_those_that_are_caught_up_with_wait_for_each_other_although_overlap_is_skipped(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, misfire="all", overlap="skip"))

    bench.tick(timedelta(hours=3, minutes=1))

    assert [state for _, state, _ in bench.states(schedule)] == ["caught_up", "waiting", "waiting"]
    for _ in range(3):
        bench.run()
        bench.tick()
    assert [state for _, state, _ in bench.states(schedule)] == ["caught_up", "caught_up", "late"]


def test_no_more_than_a_thousand_wait(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=SECOND, misfire="all", overlap="queue"))

    bench.tick(SECOND * (MAX_WAITING + 3))

    states = [state for _, state, _ in bench.states(schedule)]
    assert states[:3] == ["caught_up", "waiting", "waiting"]
    assert states.count("waiting") == MAX_WAITING
    assert bench.states(schedule)[-1][1:] == ("skipped", "queue_full")


def test_a_command_that_cannot_be_submitted_is_skipped_and_says_why(bench: Bench) -> None:
    bench.write("broken", "slug: broken\nsteps: []\n")
    bench.write("needy", TELL.replace("slug: tell", "slug: needy\nrequires: {secrets: [KEY]}"))
    made = {
        "command_unknown": bench.create(slug="nothing", name="a"),
        "command_invalid": bench.create(slug="broken", name="b"),
        "inputs_invalid": bench.create(ScheduleSpec(every=HOUR, inputs={"n": "seven"}), name="c"),
        "secrets_missing": bench.create(slug="needy", name="d"),
    }

    bench.tick(HOUR)

    for reason, schedule in made.items():
        assert bench.states(schedule) == [(60, "skipped", reason)]
    assert bench.world.recorder.types == ["schedule.skipped"] * 4


@pytest.mark.parametrize("slug", ["fail", "nothing"])
def test_failures_in_a_row_pause_it_until_it_is_resumed(bench: Bench, slug: str) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, pause_after=3), slug)
    for _ in range(6):
        bench.tick(HOUR)
        bench.run()

    paused = bench.schedules.get("it")
    assert (paused.state, paused.pause_reason, len(bench.rows(schedule))) == ("paused", "failures", 3)

    bench.schedules.resume(paused)
    bench.tick(HOUR)

    states = bench.states(schedule)
    assert [reason for _, state, reason in states[3:6]] == ["paused"] * 3
    assert states[6][0] == 7 * 60
    assert bench.schedules.get("it").state == "active"


def cancel(world: World, execution_id: UUID) -> None:
    assert stops(world).cancel(execution_id) == "cancelled"


def expire(world: World, execution_id: UUID) -> None:
    with world.pool.connection() as connection:
        connection.execute("update command_executions set expires_at = now() where id = %s", [execution_id])
    assert stops(world).expire() == 1


def die(world: World, execution_id: UUID) -> None:
    """Lose the worker that runs it alone, and for good."""
    with world.pool.connection() as connection:
        connection.execute("update command_executions set alone = true where id = %s", [execution_id])
    world.attend()
    assert world.executions.claim("default", world.worker_id) is not None
    world.lose_worker()
    assert world.reaper(lease=timedelta(), max_deaths=1).run_once().dead == 1


def stops(world: World) -> Stops:
    return Stops(world.pool, world.executions, world.clock, world.recorder)


ENDINGS = [pytest.param(end, id=end.__name__) for end in (cancel, expire, die)]


@pytest.mark.req("C-11")
@pytest.mark.parametrize("end", ENDINGS)
def test_an_execution_that_was_stopped_is_no_overlap(bench: Bench, end: Callable[[World, UUID], None]) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="queue"))
    bench.tick(HOUR)
    bench.tick(HOUR)
    first, second = bench.rows(schedule)
    assert (first.state, second.state) == ("fired", "waiting")
    assert first.execution_id is not None

    end(bench.world, first.execution_id)
    bench.tick()

    assert [state for _, state, _ in bench.states(schedule)] == ["fired", "fired"]


@pytest.mark.parametrize(
    ("end", "state"), [(cancel, "active"), (expire, "paused"), (die, "paused")], ids=["cancel", "expire", "die"]
)
def test_what_expired_or_died_counts_as_a_failure_and_what_was_cancelled_does_not(
    bench: Bench, end: Callable[[World, UUID], None], state: str
) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, pause_after=2))
    for _ in range(2):
        bench.tick(HOUR)
        execution_id = bench.rows(schedule)[-1].execution_id
        assert execution_id is not None
        end(bench.world, execution_id)
    bench.tick(HOUR)

    assert bench.schedules.get("it").state == state


@pytest.mark.parametrize("waits", ["scheduled", "waiting"])
def test_an_execution_that_waits_for_its_retry_or_its_children_is_still_going_on(bench: Bench, waits: str) -> None:
    schedule = bench.create()
    bench.tick(HOUR)
    with bench.world.pool.connection() as connection:
        connection.execute("update command_executions set state = %s", [waits])

    bench.tick(HOUR)

    assert bench.states(schedule)[-1][1:] == ("skipped", "overlap")


def test_a_success_in_between_starts_the_count_again(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, pause_after=2), "fail")
    for number in range(4):
        bench.write("fail", FAIL if number % 2 else TELL.replace("slug: tell", "slug: fail"))
        bench.tick(HOUR)
        bench.run()

    assert len(bench.rows(schedule)) == 4
    assert bench.schedules.get("it").state == "active"


def test_nothing_is_run_while_it_is_paused_and_the_ledger_says_so(bench: Bench) -> None:
    schedule = bench.create()
    bench.clock.advance(HOUR * 1.5)  # due, and not dealt with when it is paused
    bench.schedules.pause(schedule)
    bench.tick(HOUR)
    assert bench.rows(schedule) == []

    bench.schedules.resume(schedule)
    bench.tick(HOUR)

    assert bench.states(schedule) == [
        (60, "skipped", "paused"),
        (120, "skipped", "paused"),
        (180, "late", None),
    ]


def test_many_due_times_that_are_missed_in_a_row_are_one_row(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(cron="* * * * * *", misfire="latest"))

    bench.tick(timedelta(days=20))

    stretch, *in_time = bench.rows(schedule)
    assert (stretch.due_at, stretch.last_due_at) == (NOON + SECOND, NOON + timedelta(days=20) - SECOND * 11)
    assert (stretch.state, stretch.reason, stretch.due_times) == ("missed", "superseded", 10_000)
    assert [row.state for row in in_time] == ["fired", *["skipped"] * 10]


def test_run_now_leaves_the_calendar_alone_and_minds_neither_pause_nor_overlap(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="skip"))
    bench.schedules.pause(schedule)
    trace = new_id(0)

    first, was_accepted = bench.schedules.run_now(schedule, trace)
    second, _ = bench.schedules.run_now(schedule, new_id(0))

    assert was_accepted
    assert (first.origin, first.state, first.correlation_id) == ("manual", "fired", trace)
    assert second.due_at > first.due_at
    assert bench.schedules.get("it").next_due_at == NOON + HOUR
    assert bench.run() == 2


def test_run_now_never_takes_a_due_time_from_the_calendar(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="allow"))
    bench.clock.advance(HOUR)

    bench.schedules.run_now(schedule, new_id(0))
    bench.tick()

    assert [row.origin for row in bench.rows(schedule)] == ["calendar", "manual"]


def test_a_backfill_runs_what_was_not_run_once_and_only_once(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, misfire="latest", overlap="allow"))
    bench.tick(timedelta(hours=4, minutes=1))
    start, end = NOON, NOON + timedelta(days=3)

    preview = bench.schedules.backfill(schedule, start, end, preview=True)
    assert [(due - NOON) // HOUR for due in preview.due_times] == [0, 1, 2, 3]
    assert preview.run_before == 1
    assert len(bench.rows(schedule)) == 4

    assert bench.schedules.backfill(schedule, start, end, preview=False) == preview
    again = bench.schedules.backfill(schedule, start, end, preview=False)

    assert (again.due_times, again.run_before) == ((), 5)
    run = [(row.due_at - NOON) // HOUR for row in bench.rows(schedule) if row.origin == "backfill"]
    assert run == [0, 1, 2, 3]
    assert bench.run() == 5


def test_a_backfill_waits_for_its_turn_where_executions_must_not_overlap(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="skip"))
    bench.tick(timedelta(hours=4, minutes=1))
    bench.run()

    bench.schedules.backfill(schedule, NOON, NOON + timedelta(hours=3), preview=False)

    ran = []
    for _ in range(4):
        bench.tick()
        ran.append(bench.run())
    assert ran == [1, 1, 1, 0]


def test_a_backfill_has_a_bound(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=SECOND))
    bench.tick(SECOND * (MAX_BACKFILL + 100))

    with pytest.raises(BackfillTooLarge):
        bench.schedules.backfill(schedule, NOON, NOON + timedelta(days=1), preview=True)
    with pytest.raises(BackfillTooLarge):
        bench.schedules.backfill(schedule, NOON - timedelta(days=900), NOON, preview=True)


def test_another_timing_goes_on_from_now_and_deals_with_what_was_due_before(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR))
    bench.clock.advance(HOUR * 2 + MINUTE)

    changed = bench.schedules.change(schedule, "other", "tell", ScheduleSpec(cron="30 * * * *"))

    assert bench.states(schedule) == [(60, "missed", "superseded"), (120, "late", None)]
    assert changed.next_due_at == NOON + HOUR * 2.5
    assert bench.schedules.get("other").id == schedule.id


def test_other_words_that_do_not_touch_the_timing_leave_the_next_due_time(bench: Bench) -> None:
    schedule = bench.create()
    bench.clock.advance(HOUR + MINUTE)

    changed = bench.schedules.change(schedule, "it", "tell", ScheduleSpec(every=HOUR, inputs={"n": 2}))

    assert changed.next_due_at == NOON + HOUR
    assert bench.rows(schedule) == []


def test_a_removed_schedule_keeps_its_history_and_frees_its_name(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, overlap="queue"))
    for _ in range(2):
        bench.tick(HOUR)
    bench.clock.advance(HOUR)

    bench.schedules.remove(schedule)
    bench.tick(HOUR)

    assert bench.states(schedule) == [
        (60, "fired", None),
        (120, "skipped", "removed"),
        (180, "skipped", "removed"),
    ]
    assert bench.schedules.get(str(schedule.id)).state == "removed"
    with pytest.raises(ScheduleNotFound):
        bench.schedules.get("it")
    assert bench.create().id != schedule.id


def test_a_name_means_one_schedule_and_a_wrong_one_the_nearest(bench: Bench) -> None:
    bench.create(name="nightly")
    with pytest.raises(ScheduleNameTaken):
        bench.create(name="nightly")
    with pytest.raises(ScheduleNotFound) as caught:
        bench.schedules.get("nightl")
    assert caught.value.hint == "Did you mean nightly?"


def test_a_schedule_that_cannot_be_dealt_with_holds_up_no_other(
    bench: Bench, connection: Connection[Any], log_lines: list[dict[str, Any]]
) -> None:
    bench.create(name="broken")
    connection.execute("update schedules set timezone = 'Mars/Olympus', cron = '0 * * * *', every_us = null")
    schedule = bench.create(name="sound")

    bench.tick(HOUR)
    bench.tick(HOUR)

    assert [state for _, state, _ in bench.states(schedule)] == ["fired", "skipped"]
    assert "schedule_broken" in {line["event"] for line in log_lines}
    assert bench.schedules.remove(bench.schedules.get("broken")).state == "removed"


@pytest.fixture
def log_lines() -> Iterator[list[Any]]:
    """What is logged from now on."""
    with capture_logs() as lines:
        yield lines


def declared(text: str) -> str:
    return TELL + f"schedules:\n{text}"


@pytest.fixture
def declarer(bench: Bench) -> Declarer:
    return Declarer(Library([bench.folder], REGISTRY, bench.world.settings), bench.schedules)


def test_a_file_declares_changes_and_removes_schedules(bench: Bench, declarer: Declarer) -> None:
    bench.write("tell", declared("  - {id: often, every: 1h, overlap: allow}\n  - {id: seldom, cron: '@daily'}\n"))
    assert [declarer.run_once(), declarer.run_once()] == [2, 0]
    often = bench.schedules.get("tell:often")
    bench.tick(HOUR)

    bench.write("tell", declared("  - {id: often, every: 30m, overlap: allow}\n"))
    assert declarer.run_once() == 2
    bench.tick(HOUR / 2)
    assert len(bench.rows(often)) == 2
    assert bench.schedules.get("tell:often").id == often.id
    with pytest.raises(ScheduleNotFound):
        bench.schedules.get("tell:seldom")

    bench.write("tell", TELL)
    assert declarer.run_once() == 1
    bench.write("tell", declared("  - {id: often, every: 1h}\n"))
    assert declarer.run_once() == 1
    back = bench.schedules.get("tell:often")
    assert (back.id, back.state, back.next_due_at) == (often.id, "active", NOON + timedelta(hours=2))


def test_a_faulty_file_keeps_its_schedules_and_a_file_that_is_gone_does_not(bench: Bench, declarer: Declarer) -> None:
    bench.write("tell", declared("  - {id: often, every: 1h}\n"))
    declarer.run_once()
    schedule = bench.schedules.get("tell:often")

    bench.write("tell", declared("  - {id: often, every: 1 hour}\n"))
    assert declarer.run_once() == 0
    bench.tick(HOUR)
    assert bench.states(schedule) == [(60, "skipped", "command_invalid")]

    (bench.folder / "tell.yaml").unlink()
    assert declarer.run_once() == 1
    assert bench.schedules.get(str(schedule.id)).state == "removed"


def test_what_a_file_declares_is_changed_there_alone_and_stays_paused(bench: Bench, declarer: Declarer) -> None:
    bench.write("tell", declared("  - {id: often, every: 1h}\n"))
    declarer.run_once()
    schedule = bench.schedules.get("tell:often")
    bench.schedules.pause(schedule)

    with pytest.raises(ScheduleDeclared):
        bench.schedules.change(schedule, "x", "tell", HOURLY)
    with pytest.raises(ScheduleDeclared):
        bench.schedules.remove(schedule)
    bench.write("tell", declared("  - {id: often, every: 2h}\n"))
    declarer.run_once()

    assert bench.schedules.get("tell:often").state == "paused"


@pytest.mark.req("S-01", "C-11")
def test_every_event_of_an_occurrence_equals_what_its_row_says(bench: Bench, connection: Connection[Any]) -> None:
    bench.create(ScheduleSpec(every=HOUR, misfire="latest", user="Ada"), name="a")
    queue = bench.create(ScheduleSpec(every=HOUR, misfire="all", overlap="queue"), name="b")
    bench.create(ScheduleSpec(every=SECOND), "nothing", name="c")
    bench.tick(timedelta(hours=3))
    bench.run()
    bench.tick(HOUR)
    bench.schedules.run_now(queue, new_id(0))
    bench.schedules.backfill(queue, NOON - timedelta(hours=2), NOON, preview=False)
    bench.schedules.pause(queue)
    bench.clock.advance(HOUR)
    bench.schedules.resume(queue)
    bench.schedules.remove(queue)

    rebuilt = {event.event_id: event for event in rebuild(bench.world, connection)}

    recorded = [event for event in bench.world.recorder.events if event_type(event).startswith("schedule.")]
    assert {event_type(event) for event in recorded} == {"schedule.triggered", "schedule.missed", "schedule.skipped"}
    assert len(recorded) == len(rebuilt)
    for event in recorded:
        assert rebuilt[event.event_id] == event


def rebuild(world: World, connection: Connection[Any]) -> Iterator[Event]:
    connection.row_factory = dict_row
    for row in connection.execute("select * from schedule_occurrences where state <> 'waiting'").fetchall():
        yield _event(world, row)


def _event(world: World, row: Any) -> Event:  # noqa: ANN401 - any columns
    def plain(value: UUID | None) -> bytes | None:
        return None if value is None else value.bytes

    scope = Scope(
        correlation_id=row["correlation_id"].bytes,
        request_source="schedule",
        user_id=world.pseudonyms.user(row["user_name"]),
        space_id=row["space_id"].bytes,
        execution_id=plain(row["execution_id"]),
        command_slug=row["slug"],
        definition_hash=row["definition_hash"],
    )
    head = (row["event_id"].bytes, to_unix_us(row["occurred_at"]), scope, row["schedule_id"].bytes)
    due_us = to_unix_us(row["due_at"])
    if row["lateness_us"] is not None:
        return ScheduleTriggered(*head, due_us, row["lateness_us"], row["state"], row["origin"])
    kind: Any = ScheduleMissed if row["state"] == "missed" else ScheduleSkipped
    return kind(*head, due_us, to_unix_us(row["last_due_at"]), row["due_times"], row["reason"])  # type: ignore[no-any-return]


def test_rows_written_while_telemetry_is_off_have_no_event(bench: Bench, connection: Connection[Any]) -> None:
    bench.world.recorder.enabled = False
    bench.create(ScheduleSpec(every=HOUR))
    bench.tick(HOUR * 2)

    assert connection.execute("select count(*), count(event_id) from schedule_occurrences").fetchone() == (2, 0)
    assert bench.world.recorder.events == []


@pytest.mark.req("D-04")
def test_several_schedulers_at_once_fire_every_due_time_once(
    bench: Bench, connection: Connection[Any], log_lines: list[dict[str, Any]]
) -> None:
    for number in range(20):
        bench.create(ScheduleSpec(every=SECOND, misfire="all", overlap="allow"), name=f"s{number}")
    bench.clock.advance(SECOND * 30)
    tickers = [Ticker(bench.world.occurrences(), bench.clock) for _ in range(3)]

    def tick(ticker: Ticker) -> None:
        for _ in range(60):
            ticker.run_once()

    threads = [Thread(target=tick, args=(ticker,)) for ticker in tickers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statement = "select count(*), count(distinct (schedule_id, due_at)), count(distinct execution_id)"
    assert connection.execute(f"{statement} from schedule_occurrences").fetchone() == (600, 600, 600)
    executions = connection.execute("select count(*) from command_executions").fetchone()
    assert executions == (600,)
    # They take turns at the schedule's row; none had to be stopped by the primary key.
    assert [line for line in log_lines if line["event"] == "schedule_broken"] == []


def test_the_moment_a_schedule_wants_to_be_woken_minds_its_jitter(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(every=HOUR, jitter=timedelta(minutes=30)))
    assert schedule.wake_at is not None
    assert schedule.next_due_at is not None
    assert schedule.next_due_at < schedule.wake_at < schedule.next_due_at + timedelta(minutes=30)

    bench.clock.set(schedule.wake_at - timedelta(microseconds=1))
    bench.tick()
    assert bench.rows(schedule) == []
    bench.tick(timedelta(microseconds=1))

    (row,) = bench.rows(schedule)
    assert (row.lateness_us, row.fire_at) == (0, schedule.wake_at)


def test_a_single_time_is_due_once_and_then_done(bench: Bench) -> None:
    schedule = bench.create(ScheduleSpec(at=NOON + MINUTE))
    bench.tick(HOUR)
    bench.tick(HOUR)

    assert bench.states(schedule) == [(1, "late", None)]
    assert bench.schedules.get("it").state == "done"


def test_what_waits_of_a_schedule_that_cannot_be_dealt_with_holds_up_no_other(
    bench: Bench, connection: Connection[Any], log_lines: list[dict[str, Any]]
) -> None:
    broken = bench.create(ScheduleSpec(every=HOUR, overlap="queue"), name="broken")
    sound = bench.create(ScheduleSpec(every=HOUR, overlap="queue"), name="sound")
    bench.tick(HOUR)
    bench.tick(HOUR)
    connection.execute(
        "update schedules set timezone = 'Mars/Olympus', cron = '0 * * * *', every_us = null where id = %s", [broken.id]
    )
    assert bench.run() == 2

    bench.tick(MINUTE)

    assert [state for _, state, _ in bench.states(sound)] == ["fired", "late"]
    assert [state for _, state, _ in bench.states(broken)] == ["fired", "waiting"]
    assert [line["event"] for line in log_lines].count("schedule_broken") == 1
