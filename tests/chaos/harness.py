"""One run: a load, a plan of faults, a drain, a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from threading import Event

from chaos import facts as reading
from chaos.client import Client, NoAnswer
from chaos.completeness import Verdict, verify
from chaos.differences import Difference
from chaos.disk import spools
from chaos.due_times import fired
from chaos.event_facts import count_missing
from chaos.events import Requests, judge_events
from chaos.facts import Facts
from chaos.faults import Faults
from chaos.load import Load
from chaos.logbook import count
from chaos.monitor import Monitor
from chaos.orders import stream
from chaos.plan import Fault, make_kills, make_plan
from chaos.proxy import Links
from chaos.recipes import ALL, SIX, Recipe, files, never
from chaos.redelivery import Redelivery, is_settled
from chaos.report import Report, count_lines, recoveries, tally_up, tally_up_events
from chaos.schedules import WANTED
from chaos.servers import NeverHappened, wait_until
from chaos.stack import Stack, Tempo
from chaos.truth import CHECKS, judge

from telemetry.clock import SystemClock
from telemetry.connections import connect, open_redis
from telemetry.settings import TelemetrySettings

#: Key of the telemetry stream.
STREAM = TelemetrySettings().stream
#: Seconds between two lines that say how it goes.
_SAY_EVERY = 10.0
#: Seconds that an order, once everything is well again, may take to be answered.
_ANSWER_WITHIN = 120.0
#: Seconds without any change after which what has not ended never will. An execution that died again and again is put
#: off for minutes.
_STUCK_AFTER = 400.0
_DRAIN_LOOK = 0.2
#: Seconds in which every recorder hands over what it has, once the stream is there.
_FLUSHED_AFTER = 2.0
#: Seconds without any change after which a row whose event is not stored will never have it: what a dead sink had is
#: taken over after 10, and what is lost is made again now and then.
_UNCHANGED = 120.0
#: The most that the main thread waits at a time: what ended by itself is looked after in between.
_TURN = 0.25


@dataclass(frozen=True, slots=True)
class Run:
    """What is tried.

    Attributes:
        seed: Of the plan and of the orders.
        seconds: How long things go wrong; with `points`, at most.
        points: Executions that must have lost their worker; 0 is the whole plan instead.
        tempo: How fast.
        recipes: What is ordered.
        clients: How many submit.
        per_second: Orders of each, at most.
        in_flight: Executions that may be going on at a time.
        mean_gap: Mean seconds between two faults.
        redelivered: Share of the stream's entries that come twice.
    """

    seed: int
    seconds: float
    points: int
    tempo: Tempo
    recipes: tuple[Recipe, ...]
    clients: int
    per_second: float
    in_flight: int
    mean_gap: float
    redelivered: float = 0.0

    @property
    def has_schedules(self) -> bool:
        """Whether schedules run beside the orders."""
        return not self.points


def mixed(seed: int, seconds: float) -> Run:
    """Everything at once: all recipes, all faults."""
    tempo = Tempo(lease=1.5, threads=6)
    return Run(seed, seconds, 0, tempo, ALL, clients=4, per_second=12.0, in_flight=80, mean_gap=1.2, redelivered=0.2)


def points(seed: int, seconds: float, number: int) -> Run:
    """Workers that are killed until so many executions lost theirs, at random points of six steps."""
    workers = {f"worker-{each}": "worker" for each in (2, 3)} | {"scheduler-2": "scheduler"}
    tempo = Tempo(lease=1.0, threads=10, beside=workers)
    return Run(seed, seconds, number, tempo, (SIX,), clients=6, per_second=40.0, in_flight=60, mean_gap=1.2)


class Harness:
    """Carries out a run. From the main thread; everything it starts is stopped when `carry_out` is over.

    Args:
        run: What is tried.
        root: An empty folder that every user can pass through.
        say: Told how it goes.
    """

    def __init__(self, run: Run, root: Path, say: Callable[[str], None]) -> None:
        self._run = run
        self._root = root
        self._say = say
        self._clock = SystemClock()
        self._pause = Event()
        self._said = 0.0

    def carry_out(self) -> Report:
        """Do it all.

        Raises:
            NeverHappened: Something did not come up, or never came to its end; the folder tells more.
        """
        run = self._run
        report = Report(run.seed, run.seconds)
        commands = files(run.recipes)
        with (
            Links() as links,
            Stack(self._root, links, run.tempo, commands) as stack,
            Monitor(stack.database_url) as monitor,
            Redelivery(stack.stream_url, STREAM, share=run.redelivered, seed=run.seed) as redelivery,
        ):
            client = Client(stack.port)
            if run.has_schedules:
                self._make_schedules(client)
            load = Load(
                client,
                stream(run.seed, run.recipes),
                lambda _: monitor.seen.going_on < run.in_flight,
                clients=run.clients,
                per_second=run.per_second,
            )
            faults = Faults(stack, links, self._clock, run.seed)
            try:
                load.start()
                self._go_wrong(stack, load, faults, monitor)
                load.stop()
                self._put_right(stack, faults)
                redelivery.stop()
                report.drained_s = self._drain(stack, client, load, monitor)
                report.stored_s = self._store(stack)
                verdict = self._verify(stack)
                facts = self._read(stack)
            finally:
                try:
                    faults.repair_all()  # first: who waits for an answer gets one
                finally:
                    load.abandon()
            self._conclude(report, load, facts, faults, monitor, stack)
            requests = Requests(client.answered, faults.tally.api_killed_at)
            report.differences += judge_events(facts.events, verdict, requests)
            tally_up_events(report, facts.events, requests, redelivery, stack.disk)
            report.verdict = verdict
        return report

    def _make_schedules(self, client: Client) -> None:
        for wanted in WANTED:
            if not wanted.is_declared:
                made = client.ask("POST", "/api/schedules", wanted.body())
                if not made.is_good:
                    raise NeverHappened(f"the schedule {wanted.name} was refused: {made.body}")

    def _faults(self) -> Iterator[Fault]:
        run = self._run
        if run.points:
            targets = [name for name, service in run.tempo.beside.items() if service == "worker"]
            kills = make_kills(run.seed, targets, mean_gap=run.mean_gap)
            return takewhile(lambda fault: fault.at < run.seconds, kills)
        plan = make_plan(run.seed, run.seconds, lease=run.tempo.lease, mean_gap=run.mean_gap, has_disk=spools())
        return iter(plan)

    def _go_wrong(self, stack: Stack, load: Load, faults: Faults, monitor: Monitor) -> None:
        """The plan, until it is over, or enough points were met."""
        began = time.monotonic()
        plan = self._faults()
        following: Fault | None = next(plan, None)
        while True:
            now = time.monotonic() - began
            self._tell(f"{now:4.0f} s", load, faults, monitor)
            if now >= self._run.seconds or (self._run.points and monitor.seen.lost >= self._run.points):
                return
            faults.repair(now)
            stack.tend()
            if stack.disk is not None:
                stack.disk.look()
            if following is not None and following.at <= now:
                faults.begin(following)
                following = next(plan, None)
            soon = [at for at in (None if following is None else following.at, faults.next_repair) if at is not None]
            self._pause.wait(max(0.0, min([_TURN, *(at - now for at in soon)])))

    def _put_right(self, stack: Stack, faults: Faults) -> None:
        """Everything is continued, mended, and started again, whether it seems to need it or not."""
        self._say("putting everything right")
        faults.repair_all()
        stack.start_servers()
        faults.note_api_killed()
        stack.restart_up()

    def _drain(self, stack: Stack, client: Client, load: Load, monitor: Monitor) -> float:
        """Wait until all is answered, all schedules are ended, and nothing goes on; seconds that it took."""
        began = time.monotonic()
        if not load.settle(_ANSWER_WITHIN):
            self._say("some orders are still without an answer")
        if self._run.has_schedules:
            self._end_schedules(stack, client)
        last, since, looks = None, time.monotonic(), monitor.looks
        while True:
            wait_until(partial(_has_looked, monitor, looks), "a look at the database", _ANSWER_WITHIN)
            looks, seen = monitor.looks, (monitor.seen, self._waiting(stack))
            if not monitor.seen.going_on and not seen[1]:
                return time.monotonic() - began
            if seen != last:
                last, since = seen, time.monotonic()
            if time.monotonic() - since > _STUCK_AFTER:
                self._say(f"stuck: {monitor.seen.states}, {seen[1]} occurrences or leases wait")
                return time.monotonic() - began
            self._tell("drains", load, None, monitor)
            self._pause.wait(_DRAIN_LOOK)

    def _store(self, stack: Stack) -> float:
        """Wait until the stream is stored and no row is without its event, or nothing changes any more; seconds."""
        began = since = time.monotonic()
        last = -1
        with (
            connect(stack.database_url, name="weir chaos", autocommit=True) as connection,
            open_redis(stack.stream_url) as redis,
        ):
            while True:
                missing, is_read = count_missing(connection), is_settled(redis, STREAM)
                now = time.monotonic()
                if is_read and not missing and now - began > _FLUSHED_AFTER:
                    return now - began
                if missing != last:
                    last, since = missing, now
                if now - since > _UNCHANGED:
                    self._say(f"{missing} rows are without their event; the stream is {'' if is_read else 'not '}read")
                    return now - began
                self._pause.wait(_DRAIN_LOOK)

    def _verify(self, stack: Stack) -> Verdict:
        """What Weir says, once it is what it will always say, or after a while."""
        until = time.monotonic() + _UNCHANGED
        while not (verdict := verify(stack)).is_final and time.monotonic() < until:
            self._pause.wait(_SAY_EVERY / 2)
        return verdict

    def _waiting(self, stack: Stack) -> int:
        """Occurrences that wait for their turn, and leases that lapsed."""
        with connect(stack.database_url, name="weir chaos", autocommit=True) as connection:
            row = connection.execute(
                "select (select count(*) from schedule_occurrences where state = 'waiting')"
                " + (select count(*) from workers where lease_until < now())"
            ).fetchone()
        return int(row[0]) if row else 0

    def _end_schedules(self, stack: Stack, client: Client) -> None:
        """Give each a timing that is never due; what was due until then is dealt with first."""
        every = never(self._clock.now())
        stack.write_commands(files(self._run.recipes, every))
        for wanted in WANTED:
            is_ended = partial(_is_ended, client, wanted.name, every)
            wait_until(is_ended, f"{wanted.name} ends", _ANSWER_WITHIN)

    def _read(self, stack: Stack) -> Facts:
        with connect(stack.database_url, name="weir chaos", autocommit=True) as connection:
            return reading.read(connection)

    def _conclude(  # noqa: PLR0913 - all that took part
        self, report: Report, load: Load, facts: Facts, faults: Faults, monitor: Monitor, stack: Stack
    ) -> None:
        checks = CHECKS if self._run.has_schedules else tuple(check for check in CHECKS if check is not fired)
        report.differences = judge(load.orders, facts, checks)
        if self._run.points and monitor.seen.lost < self._run.points:
            short = Difference("points", f"within {self._run.seconds:g} s", self._run.points, monitor.seen.lost)
            report.differences.append(short)
        tally_up(report, load.orders, facts, faults.tally)
        report.no_answers = dict(load.troubles)
        process_of = {str(worker): process for worker, process in monitor.process_of.items()}
        report.recoveries_s = recoveries(facts, process_of, faults.tally.killed_at)
        count_lines(report, *count(stack.logs))

    def _tell(self, moment: str, load: Load, faults: Faults | None, monitor: Monitor) -> None:
        """A line now and then."""
        if time.monotonic() - self._said < _SAY_EVERY:
            return
        self._said = time.monotonic()
        done = "" if faults is None else f"{sum(faults.tally.done.values())} faults, "
        seen = monitor.seen
        self._say(
            f"{moment}: {done}{load.accepted} orders accepted, {seen.final} executions ended,"
            f" {seen.going_on} going on, {seen.lost} lost their worker"
        )


def _has_looked(monitor: Monitor, looks: int) -> bool:
    """Whether it looked once more."""
    return monitor.looks > looks


def _is_ended(client: Client, name: str, every: str) -> bool:
    """Whether a schedule has that interval; asks for it if not."""
    try:
        found = client.ask("GET", f"/api/schedules/{name}")
        if found.is_good and found.body["every"] == every:
            return True
        if found.is_good and not found.body["declared"]:
            client.ask("PATCH", f"/api/schedules/{name}", {"every": every})
    except NoAnswer:
        return False
    return False
