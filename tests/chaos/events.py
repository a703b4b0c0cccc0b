"""Ground truth of telemetry: every row of the ledger has one stored event, and no event is without its row. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from chaos.client import Answered
from chaos.completeness import Verdict
from chaos.differences import Difference
from chaos.event_facts import EventFacts

#: An event of a request, which has no row, may go with the process that answered: this many seconds before its end. A
#: recorder flushes after 50 ms; the rest is what it waits for a stream that hangs, and what it may have been stopped.
TAIL_S = 6.0
#: Who is killed through his supervisor, or by a signal that is on its way, may answer for so many seconds more.
AFTER_S = 1.0
_REQUEST = "http.request.completed"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests that were answered.

    Attributes:
        answered: By correlation id.
        killed_at: When processes that answer were killed, in Unix seconds.
    """

    answered: Mapping[UUID, Answered] = field(default_factory=dict)
    killed_at: Sequence[float] = ()

    def missing(self, events: EventFacts) -> list[Answered]:
        """Those whose events are not stored."""
        return [answered for each, answered in self.answered.items() if each not in events.requests]

    def unexplained(self, events: EventFacts) -> list[Answered]:
        """Those of them that were answered when nobody was about to be killed."""
        return [
            each
            for each in self.missing(events)
            if not any(-AFTER_S <= killed - each.at <= TAIL_S for killed in self.killed_at)
        ]


def judge_events(events: EventFacts, verdict: Verdict, requests: Requests) -> Iterator[Difference]:
    """Every difference between what is stored, what must be, and what is said of it."""
    for zombie in events.zombies:
        yield Difference("an event has a row", str(zombie.event_id), "a row", zombie)
    for event_id, number in events.shared:
        yield Difference("an event has one row", event_id, 1, number)
    for row in events.missing:
        if row.event_id is None:
            yield Difference("a row has an event", str(row.execution_id), "an id", row.kind)
        else:
            yield Difference("the event of a row is stored", row.event_id, "stored", row)
    if events.quarantined:
        yield Difference("nothing is malformed", "telemetry_quarantine", 0, events.quarantined)
    yield from _judge_account(events, verdict)
    unexplained, dropped = requests.unexplained(events), events.dropped[_REQUEST]
    if len(unexplained) > dropped:
        yield Difference("requests are stored, or said to be lost", _REQUEST, f"at most {dropped}", unexplained)


def _judge_account(events: EventFacts, verdict: Verdict) -> Iterator[Difference]:
    """What Weir says is missing is missing, and nothing else."""
    for each in events.producers:
        if each.arrived > each.given:
            yield Difference("no number arrives that was not given", each.producer, each.given, each.arrived)
    said = Counter(dict(verdict.missing))
    if events.lost.total() != said.total():
        yield Difference("verify names what is missing", "ledger", dict(events.lost), dict(said))
    if not verdict.is_final:
        yield Difference(
            "verify comes to an end", "weir telemetry verify", "complete, or what has no row is gone", verdict
        )
    if verdict.is_complete and events.missing:
        yield Difference("verify sees that something is missing", "ledger", "not complete", dict(events.lost))
