"""What a run was and found: as a table for people, as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from chaos.completeness import Verdict
from chaos.differences import Difference
from chaos.disk import Disk
from chaos.event_facts import EventFacts
from chaos.events import Requests
from chaos.facts import Facts
from chaos.faults import Tally
from chaos.logbook import FENCED, ZOMBIE
from chaos.orders import Order
from chaos.redelivery import Redelivery

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
        replays: Submissions that were sent again and were the same execution.
        kills: By process; whatever a supervisor took along is not counted again.
        asked_events: Rows of the ledger that have an event.
        events: Stored ones, by type.
        redelivered: Entries of the stream that came again, and of how many.
        duplicates_dropped: Events that sinks were given and had already.
        reconciled: Events that were made again from their rows.
        spooled_bytes: The most that waited on disk at a time.
        dropped: Events that producers dropped and counted, by type.
        gaps: Numbers of events that did not arrive.
        lost: Rows whose event is not stored, by kind.
        unknown_tails: Epochs of which nobody knows how they ended.
        verdict: What `weir telemetry verify` said.
        lost_requests: Answered requests whose event is not stored; and those of them that no kill explains.
    """

    seed: int
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    missed_faults: int = 0
    executions: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    replays: int = 0
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
    stored_s: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    asked_events: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    redelivered: tuple[int, int, int] = (0, 0, 0)
    duplicates_dropped: int = 0
    reconciled: int = 0
    spooled_bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    unknown_tails: int = 0
    lost_requests: tuple[int, int, int] = (0, 0, 0)
    verdict: Verdict | None = None
    loud: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        lines = [
            ("seed", str(self.seed)),
            ("seconds", f"{self.seconds:.0f}, then {self.drained_s:.1f} to drain, {self.stored_s:.1f} to store"),
        ]
        lines.append(("faults", f"{sum(self.faults.values())} ({self.missed_faults} met nobody)"))
        lines.extend((f"  {name}", str(number)) for name, number in sorted(self.faults.items()))
        lines.append(("orders", f"{self.orders}; asked again for want of an answer: {_list(self.no_answers)}"))
        lines.append(("executions", f"{sum(self.executions.values())}: {_list(self.executions)}"))
        lines.append(("states", _list(self.states)))
        lines.append(("occurrences", _list(self.occurrences)))
        lines.append(("mutations", f"{self.mutations} in the ledger, {self.effects} in the tables"))
        lines.append(("sent again", f"{self.replays} submissions were the same execution"))
        lines.append(("fenced writes", str(self.fenced_writes)))
        lines.append(("zombies", str(self.zombies)))
        lines.append(("points", f"{self.points} attempts lost their worker"))
        lines.append(("attempts let go", _list(self.attempts_by_reason)))
        lines.append(("recovered within", _spread(self.recoveries_s)))
        lines.extend(self._of_events())
        lines.append(("loud log lines", _list(self.loud)))
        lines.append(("differences", str(len(self.differences))))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)

    def _of_events(self) -> list[tuple[str, str]]:
        again, set_back, entries = self.redelivered
        missing, unexplained, answered = self.lost_requests
        return [
            ("kills", _list(self.kills)),
            (
                "events",
                f"{sum(self.events.values())}, of {sum(self.asked_events.values())} rows: {_list(self.asked_events)}",
            ),
            ("redelivered", f"{again} of {entries} entries sent again, {set_back} by setting the group back"),
            ("duplicates dropped", str(self.duplicates_dropped)),
            ("reconciled", str(self.reconciled)),
            ("spooled", f"{self.spooled_bytes} bytes at most"),
            ("dropped", f"{_list(self.dropped)}; {self.gaps} numbers did not arrive"),
            ("lost", f"{sum(self.lost.values())}: {_list(self.lost)}"),
            ("tails unknown", str(self.unknown_tails)),
            ("verify", "not asked" if self.verdict is None else _said(self.verdict)),
            ("requests lost", f"{missing} of {answered}, {unexplained} of them with nobody killed"),
        ]

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
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self, enc_hook=str), indent=2) + b"\n")


def tally_up(report: Report, orders: Sequence[Order], facts: Facts, tally: Tally) -> None:
    """Count what can be counted."""
    report.faults = {f"{kind} {target}": number for (kind, target), number in tally.done.items()}
    report.missed_faults = tally.missed
    report.orders = len(orders)
    report.kills = {target: number for (kind, target), number in tally.done.items() if kind == "kill"}
    report.replays = sum(order.replays for order in orders)
    report.executions = dict(Counter(execution.slug for execution in facts.executions))
    report.states = dict(Counter(execution.state for execution in facts.executions))
    report.occurrences = dict(Counter(row.state for row in facts.occurrences))
    report.mutations = sum(sum(kept.values()) for kept in facts.mutations.values())
    report.effects = sum(sum(done.values()) for done in facts.journal.values())
    reasons = Counter(attempt.reason for attempt in facts.attempts if attempt.reason is not None)
    report.attempts_by_reason = {str(reason): number for reason, number in reasons.items()}
    report.points = reasons["worker_lost"]


def tally_up_events(
    report: Report, events: EventFacts, requests: Requests, redelivery: Redelivery, disk: Disk | None
) -> None:
    """Count what is said of events."""
    report.asked_events, report.events = dict(events.asked), dict(events.stored)
    report.redelivered = (redelivery.again, redelivery.set_back, redelivery.entries)
    report.duplicates_dropped, report.reconciled = int(events.duplicates), events.reconciled
    report.spooled_bytes = 0 if disk is None else disk.most_bytes
    report.dropped, report.gaps = dict(events.dropped), events.gaps
    report.lost, report.unknown_tails = dict(events.lost), events.unknown_tails
    report.lost_requests = (len(requests.missing(events)), len(requests.unexplained(events)), len(requests.answered))


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


def _said(verdict: Verdict) -> str:
    word = "complete" if verdict.is_complete else "not complete"
    return f"{word}; missing: {_list(verdict.missing)}; gone for good: {_list(verdict.gone)}"


def _list(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items())) or "none"


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "nothing to recover"
    return f"{seconds[0]:.2f} / {median(seconds):.2f} / {seconds[-1]:.2f} s (least / median / most of {len(seconds)})"
