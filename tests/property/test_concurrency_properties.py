"""Never do more hold a place than may, whatever is claimed, ended, put off, cancelled or lost; and none is forgotten.

Threads with leases of their own do at random what workers, reapers and people do. Each keeps note of who holds a place:
it is noted after the claim is committed, and forgotten before it is given back, so that what is noted at any moment was
true in the database then. Afterwards one worker runs what is left; what it cannot claim nobody ever could.
"""

from __future__ import annotations

import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from uuid import UUID

import pytest

from dsl.command import Command
from dsl.errors import FenceLost
from dsl.executor import Outcome
from dsl.instrumentation import Totals
from telemetry.clock import SystemClock
from telemetry.ids import new_id
from workers.errors import ConcurrencyFull, ExecutionConflict
from workers.executions import Claim
from workers.fence import Release
from workers.leases import SQL as LEASES
from workers.ledger_rows import Batch
from workers.queues import Limits, Queues
from workers.stops import Stops
from workers.testing import World

THREADS, TURNS = 5, 40

COMMAND = """
slug: {slug}
inputs: {{key: {{type: string}}}}
concurrency: {{key: "{{{{ inputs.key }}}}", max: {max}, on_full: {on_full}}}
steps: [{{id: say, type: respond, with: {{value: 1}}}}]
"""
KEYS = ("a", "b")


@dataclass
class Notes:
    """Who holds places, as far as anybody knows for certain."""

    lane_limit: int | None
    lock: Lock = field(default_factory=Lock)
    holders: dict[tuple[str, str], set[UUID]] = field(default_factory=lambda: defaultdict(set))
    running: set[UUID] = field(default_factory=set)
    keys: dict[UUID, tuple[str, str, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    most: int = 0

    def claimed(self, execution_id: UUID) -> None:
        with self.lock:
            self.running.add(execution_id)
            if self.lane_limit is not None and len(self.running) > self.lane_limit:
                self.faults.append(f"{len(self.running)} run in the lane")
            slug, key, most = self.keys.get(execution_id, ("", "", 0))
            if most:
                held = self.holders[slug, key]
                held.add(execution_id)
                self.most = max(self.most, len(held))
                if len(held) > most:
                    self.faults.append(f"{len(held)} hold places of {slug} {key}")

    def lets_go(self, execution_id: UUID, *, keeps_place: bool = False) -> None:
        with self.lock:
            self.running.discard(execution_id)
            if not keeps_place:
                for held in self.holders.values():
                    held.discard(execution_id)


class Chaos:
    """What a thread does."""

    def __init__(self, world: World, notes: Notes, commands: list[Command | None], seed: int) -> None:
        self.world = world
        self.notes = notes
        self.commands = commands
        self.random = random.Random(seed)
        self.queues = Queues(world.pool, None, ["default"])
        self.stops = Stops(world.pool, world.executions, world.clock, world.recorder)
        self.reaper = world.reaper(lease=timedelta(0))
        self.accepted: list[UUID] = []
        self.held: list[Claim] = []
        self.worker_id = self._worker()

    def run(self) -> None:
        work = (self._submit, self._submit, self._claim, self._claim, self._claim, self._let_go, self._let_go)
        others = (self._die, self._cancel, self._reap, self._pause, self._resume)
        for _ in range(TURNS):
            self.random.choice((*work, *others))()
        while self.held:
            self._end(self.held.pop())

    def drain(self) -> None:
        """Run whatever can be run, alone."""
        for slug in ("queueing", "rejecting"):
            self.queues.resume_command(slug)
        while True:
            self._reap()
            with self.world.pool.connection() as connection:  # the time of what killed its worker has come
                connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
            self.world.executions.promote()
            claim = self.world.executions.claim("default", self.worker_id)
            if claim is None:
                return
            self._end(claim)

    def _worker(self) -> UUID:
        worker_id = new_id(self.world.clock.unix_us())
        self.world.register(worker_id)
        return worker_id

    def _submit(self) -> None:
        command = self.random.choice(self.commands)
        key = self.random.choice(KEYS)
        inputs = {} if command is None else {"key": key}
        try:
            with self.notes.lock:  # so that nobody claims it before it is known
                execution_id = self.world.submit(command, inputs, priority=self.random.randrange(10))
                if command is not None and command.concurrency is not None:
                    self.notes.keys[execution_id] = (command.slug, key, command.concurrency.max)
        except ConcurrencyFull:
            return
        self.accepted.append(execution_id)

    def _claim(self) -> None:
        claim = self.world.executions.claim("default", self.worker_id)
        if claim is not None:
            self.notes.claimed(claim.id)
            self.held.append(claim)

    def _let_go(self) -> None:
        if self.held:
            claim = self.held.pop(self.random.randrange(len(self.held)))
            self.random.choice((self._end, self._end, self._put_off, self._wait))(claim)

    def _end(self, claim: Claim) -> None:
        self.notes.lets_go(claim.id)
        self._finish(claim)

    def _finish(self, claim: Claim) -> None:
        fence = self.world.fence(claim)
        fence.end(Batch(), lambda connection: fence.finish(connection, Outcome(None, None, None, Totals())))

    def _put_off(self, claim: Claim) -> None:
        """Failed, and tried again: at once, or after a microsecond in which another may have its place."""
        self.notes.lets_go(claim.id)
        fence = self.world.fence(claim)
        delay = timedelta(microseconds=self.random.choice((0, 1)))
        fence.end(Batch(), lambda connection: fence.release(connection, Release("failed", delay)))
        self.world.executions.promote()

    def _wait(self, claim: Claim) -> None:
        """It waited for a child that has ended meanwhile, and keeps its place."""
        self.notes.lets_go(claim.id, keeps_place=True)
        fence = self.world.fence(claim)
        fence.end(Batch(), lambda connection: fence.release(connection, Release("waiting")))

    def _die(self) -> None:
        """Killed in the middle of what it runs; later it comes back and would still write."""
        lost, self.held = self.held, []
        for claim in lost:
            self.notes.lets_go(claim.id)
        with self.world.pool.connection() as connection:
            connection.execute(LEASES["leave"], {"id": self.worker_id})
        self.worker_id = self._worker()
        self._reap()
        for claim in lost:
            with suppress(FenceLost):
                self._finish(claim)

    def _cancel(self) -> None:
        if not self.accepted:
            return
        execution_id = self.random.choice(self.accepted)
        with self.notes.lock:
            if execution_id in self.notes.running:
                return
        self.notes.lets_go(execution_id)
        with suppress(ExecutionConflict):
            self.stops.cancel(execution_id)

    def _reap(self) -> None:
        self.reaper.run_once()

    def _pause(self) -> None:
        self.queues.pause_command(self.random.choice(("queueing", "rejecting")), "tester")

    def _resume(self) -> None:
        self.queues.resume_command(self.random.choice(("queueing", "rejecting")))


@pytest.mark.parametrize("seed", range(6))
def test_places_are_never_held_by_more_than_may_and_everything_ends(world: World, seed: int) -> None:
    world.clock = SystemClock()
    chance = random.Random(seed)
    most = chance.randint(1, 3)
    commands = [
        world.load(COMMAND.format(slug="queueing", max=most, on_full="queue")),
        world.load(COMMAND.format(slug="rejecting", max=most, on_full="reject")),
        None,
    ]
    lane_limit = chance.choice((3, None))
    Queues(world.pool, None, ["default"]).limit("default", Limits(running=lane_limit))
    world.attend()
    notes = Notes(lane_limit)
    threads = [Chaos(world, notes, commands, seed * THREADS + number) for number in range(THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(chaos.run) for chaos in threads]:
            done.result()
    threads[0].drain()

    assert notes.faults == []
    assert 0 < notes.most <= most
    left = [row for row in world.executions.page(limit=1000) if not row.is_final]
    assert [(row.state, row.waiting_for) for row in left] == []
