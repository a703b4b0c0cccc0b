"""Makes things go wrong as the plan has it, and puts them right again; from the main thread only."""

from __future__ import annotations

import heapq
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.plan import BESIDE, WITH_DISK, Fault
from chaos.processes import Gone, Handle, family, handle
from chaos.proxy import CUTS, Links
from chaos.stack import Stack

from telemetry.clock import Clock


@dataclass(slots=True)
class Tally:
    """What was done.

    Attributes:
        done: How often, by kind and target.
        missed: Faults whose target was not there: the supervisor had not started it again yet.
        killed_at: When each process was killed, by its id; Unix microseconds.
        api_killed_at: When one that answers requests was, in Unix seconds.
    """

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: int = 0
    killed_at: dict[int, int] = field(default_factory=dict)
    api_killed_at: list[float] = field(default_factory=list)


class Faults:
    """Carries out faults.

    Args:
        stack: Whose processes.
        links: Whose links.
        clock: Stamps kills.
        seed: Of chance: which backend.

    Attributes:
        tally: What was done.
    """

    def __init__(self, stack: Stack, links: Links, clock: Clock, seed: int) -> None:
        self._stack = stack
        self._links = links
        self._clock = clock
        self._chance = random.Random(f"faults/{seed}")
        self._repairs: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.tally = Tally()

    @property
    def next_repair(self) -> float | None:
        """When something is to be put right, in seconds after the beginning."""
        return self._repairs[0][0] if self._repairs else None

    def begin(self, fault: Fault) -> None:
        """Let it happen."""
        try:
            repair = self._begin(fault)
        except Gone:
            self.tally.missed += 1
            return
        self.tally.done[fault.kind, fault.target] += 1
        if repair is not None:
            self._number += 1
            heapq.heappush(self._repairs, (fault.at + fault.lasts, self._number, repair))

    def note_api_killed(self) -> None:
        """What answers requests is being killed now."""
        self.tally.api_killed_at.append(self._clock.unix_us() / 1e6)

    def repair(self, until: float) -> None:
        """Put right what is to be by then."""
        while self._repairs and self._repairs[0][0] <= until:
            heapq.heappop(self._repairs)[2]()

    def repair_all(self) -> None:
        """Put everything right, whenever it was to be; idempotent."""
        self.repair(float("inf"))
        for link in self._stack.links.values():
            self._links.mend(link)
        if self._stack.disk is not None:
            self._stack.disk.empty()

    def _begin(self, fault: Fault) -> Callable[[], None] | None:
        if fault.kind in CUTS:
            link = self._stack.links[fault.target]
            self._links.begin(link, fault.kind)
            return lambda: self._links.mend(link)
        if fault.kind == "fill":
            return self._fill()
        if fault.kind == "stop":
            return self._stop(fault.target)
        return self._kill(fault.target)

    def _kill(self, target: str) -> Callable[[], None] | None:
        if target == "backend":
            self._kill_backend()
            return None
        if target in ("api", "supervisor"):
            self.note_api_killed()
        for pid in self._pids(target):
            with handle(pid, self._stack.root) as process:
                self.tally.killed_at[pid] = self._clock.unix_us()
                if target == "supervisor":
                    for child in family(pid):
                        self.tally.killed_at[child] = self._clock.unix_us()
                process.send(signal.SIGKILL)
        if target in BESIDE or target.startswith("worker-"):
            return lambda: self._start_beside(target)
        if target in self._stack.servers:
            return self._stack.servers[target].start
        return None  # its supervisor starts it again; the supervisor itself is started by `Stack.tend`

    def _stop(self, target: str) -> Callable[[], None]:
        """Stop a process with all below it, parents first; continue exactly those."""
        (first,) = self._pids(target)
        held: list[Handle] = []
        for pid in family(first):
            try:
                held.append(Handle(pid, self._stack.root))
            except Gone:
                if pid == first:
                    raise
        for process in held:
            process.send(signal.SIGSTOP)

        def go_on() -> None:
            for process in reversed(held):
                process.send(signal.SIGCONT)
                process.close()

        return go_on

    def _fill(self) -> Callable[[], None]:
        disk = self._stack.disk
        if disk is None:
            raise Gone("disk")
        disk.fill()
        links = [self._stack.links[name] for name in WITH_DISK if name in self._stack.links]
        for link in links:
            self._links.begin(link, "refuse")

        def make_room() -> None:
            disk.empty()
            for link in links:
                self._links.mend(link)

        return make_room

    def _kill_backend(self) -> None:
        """One of Postgres's own processes: it ends all sessions then, and recovers."""
        (first,) = self._pids("postgres")
        backends = family(first)[1:]
        if not backends:
            raise Gone("backend")
        with handle(self._chance.choice(backends), self._stack.root) as process:
            process.send(signal.SIGKILL)

    def _start_beside(self, target: str) -> None:
        self._stack.start_beside(target)

    def _pids(self, target: str) -> list[int]:
        found = self._stack.pids(target)
        if not found:
            raise Gone(target)
        return found
