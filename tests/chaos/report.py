"""What a run was and found: as a table for people, as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from chaos.differences import Difference
from chaos.facts import Facts
from chaos.faults import Tally
from chaos.logbook import FENCED, ZOMBIE
from chaos.orders import Order

_MICRO = 1_000_000
#: Differences that are printed; all of them are in the JSON.
_SHOWN = 40


@dataclass(slots=True)
class Report:
    """A run, in numbers.

    Attributes:
        recoveries_s: From the kill of a worker to the next attempt, for the first death of an execution; later deaths
            are put off on purpose.
        points: Attempts that lost their worker: each is a moment of an execution at which it was killed.
        loud: Log lines of errors nobody expected, by event.
    """

    seed: int
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    missed_faults: int = 0
    executions: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    duplicates_dropped: int = 0
    no_answers: dict[str, int] = field(default_factory=dict)
    fenced_writes: int = 0
    zombies: int = 0
    points: int = 0
    attempts_by_reason: dict[str, int] = field(default_factory=dict)
    recoveries_s: list[float] = field(default_factory=list)
    occurrences: dict[str, int] = field(default_factory=dict)
    mutations: int = 0
    effects: int = 0
    drained_s: float = 0.0
    loud: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        lines = [("seed", str(self.seed)), ("seconds", f"{self.seconds:.0f}, then {self.drained_s:.1f} to drain")]
        lines.append(("faults", f"{sum(self.faults.values())} ({self.missed_faults} met nobody)"))
        lines.extend((f"  {name}", str(number)) for name, number in sorted(self.faults.items()))
        lines.append(("orders", f"{self.orders}; asked again for want of an answer: {_list(self.no_answers)}"))
        lines.append(("executions", f"{sum(self.executions.values())}: {_list(self.executions)}"))
        lines.append(("states", _list(self.states)))
        lines.append(("occurrences", _list(self.occurrences)))
        lines.append(("mutations", f"{self.mutations} in the ledger, {self.effects} in the tables"))
        lines.append(("duplicates dropped", str(self.duplicates_dropped)))
        lines.append(("fenced writes", str(self.fenced_writes)))
        lines.append(("zombies", str(self.zombies)))
        lines.append(("points", f"{self.points} attempts lost their worker"))
        lines.append(("attempts let go", _list(self.attempts_by_reason)))
        lines.append(("recovered within", _spread(self.recoveries_s)))
        lines.append(("loud log lines", _list(self.loud)))
        lines.append(("differences", str(len(self.differences))))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)

    def diff(self) -> str:
        """What is not as it must be."""
        lines = [
            f"{each.check}: {each.about}\n    expected {each.expected}\n    found    {each.found}"
            for each in self.differences[:_SHOWN]
        ]
        more = len(self.differences) - _SHOWN
        return "\n".join([*lines, *([f"... and {more} more"] if more > 0 else [])])

    def write(self, path: Path) -> None:
        """All of it, as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n", encoding="utf-8")


def tally_up(report: Report, orders: Sequence[Order], facts: Facts, tally: Tally) -> None:
    """Count what can be counted."""
    report.faults = {f"{kind} {target}": number for (kind, target), number in tally.done.items()}
    report.missed_faults = tally.missed
    report.orders = len(orders)
    report.duplicates_dropped = sum(order.replays for order in orders)
    report.executions = dict(Counter(execution.slug for execution in facts.executions))
    report.states = dict(Counter(execution.state for execution in facts.executions))
    report.occurrences = dict(Counter(row.state for row in facts.occurrences))
    report.mutations = sum(sum(kept.values()) for kept in facts.mutations.values())
    report.effects = sum(sum(done.values()) for done in facts.journal.values())
    reasons = Counter(attempt.reason for attempt in facts.attempts if attempt.reason is not None)
    report.attempts_by_reason = {str(reason): number for reason, number in reasons.items()}
    report.points = reasons["worker_lost"]


def recoveries(facts: Facts, process_of: Mapping[str, int], killed_at: Mapping[int, int]) -> list[float]:
    """Seconds from a worker's kill until each execution it took along for the first time was begun again."""
    found: list[float] = []
    deaths: Counter[str] = Counter()
    for attempt, following in zip(facts.attempts, facts.attempts[1:], strict=False):
        if attempt.reason != "worker_lost" or attempt.released_at is None:
            continue
        deaths[attempt.execution_id] += 1
        killed = killed_at.get(process_of.get(attempt.worker_id, 0))
        if killed is None or deaths[attempt.execution_id] > 1 or following.execution_id != attempt.execution_id:
            continue
        if attempt.claimed_at.timestamp() < killed / _MICRO < attempt.released_at.timestamp():
            found.append(following.claimed_at.timestamp() - killed / _MICRO)
    return sorted(found)


def count_lines(report: Report, said: Counter[str], loud: Counter[str]) -> None:
    """What the logs say."""
    report.fenced_writes, report.zombies, report.loud = said[FENCED], said[ZOMBIE], dict(loud)


def _list(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items())) or "none"


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "nothing to recover"
    return f"{seconds[0]:.2f} / {median(seconds):.2f} / {seconds[-1]:.2f} s (least / median / most of {len(seconds)})"
