"""The chaos harness notices what must never happen to events: each check sees a store with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from chaos.client import Answered
from chaos.completeness import Verdict
from chaos.event_facts import EventFact, EventFacts, ProducerFact
from chaos.events import TAIL_S, Requests, judge_events

ANSWERED, LATER = UUID(int=1), UUID(int=2)
LOST = EventFact("step", "e-1", "x-1")
COMPLETE = Verdict(is_complete=True, missing={})


def as_it_must_be() -> EventFacts:
    return EventFacts(
        asked={"step": 2},
        stored={"dsl.step.executed": 2, "http.request.completed": 2},
        requests=frozenset({ANSWERED, LATER}),
        producers=[ProducerFact("worker-1", 10, {}, is_closed=True, is_healed=False, arrived=10)],
    )


def requests(*killed_at: float) -> Requests:
    return Requests({ANSWERED: Answered(100.0, "GET / 200"), LATER: Answered(200.0, "GET / 200")}, killed_at)


def test_a_store_that_is_as_it_must_be_has_no_differences() -> None:
    assert list(judge_events(as_it_must_be(), COMPLETE, requests())) == []


def store_a_zombie(events: EventFacts) -> None:
    events.zombies = [EventFact("dsl.step.executed", "e-9", "x-1")]


def share_an_event(events: EventFacts) -> None:
    events.shared = [("e-1", 2)]


def forget_an_id(events: EventFacts) -> None:
    events.missing = [replace(LOST, event_id=None)]


def lose_an_event(events: EventFacts) -> None:
    events.missing = [LOST]


def quarantine(events: EventFacts) -> None:
    events.quarantined = 1


def receive_more_than_was_given(events: EventFacts) -> None:
    events.producers = [replace(events.producers[0], arrived=11)]


def lose_a_request(events: EventFacts) -> None:
    events.requests = frozenset({ANSWERED})


WRONG = (
    store_a_zombie,
    share_an_event,
    forget_an_id,
    lose_an_event,
    quarantine,
    receive_more_than_was_given,
    lose_a_request,
)


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_whatever_goes_wrong_with_events_is_noticed(spoil: Callable[[EventFacts], None]) -> None:
    events = as_it_must_be()
    spoil(events)
    assert list(judge_events(events, COMPLETE, requests()))


def test_a_verdict_that_names_too_much_or_too_little_is_noticed() -> None:
    events = as_it_must_be()
    assert list(judge_events(events, Verdict(is_complete=False, missing={"step": 1}), requests()))
    assert list(judge_events(events, Verdict(is_complete=False, missing={}), requests()))
    gone = Verdict(is_complete=False, missing={}, gone={"http.request.completed": 1})
    assert list(judge_events(events, gone, requests())) == []
    events.missing = [LOST]
    found = list(judge_events(events, COMPLETE, requests()))
    assert {each.check for each in found} >= {"verify names what is missing", "verify sees that something is missing"}


def test_a_request_may_be_lost_with_whoever_answered_it_and_no_earlier() -> None:
    events = as_it_must_be()
    lose_a_request(events)
    assert list(judge_events(events, COMPLETE, requests(200.0 + TAIL_S / 2))) == []
    assert list(judge_events(events, COMPLETE, requests(198.0, 200.0 + 2 * TAIL_S)))


def test_a_request_may_be_lost_if_it_was_counted() -> None:
    events = as_it_must_be()
    lose_a_request(events)
    events.producers = [replace(events.producers[0], dropped={"http.request.completed": 1})]
    assert list(judge_events(events, COMPLETE, requests())) == []


def test_what_did_not_arrive_is_counted_over_all_producers() -> None:
    events = as_it_must_be()
    events.producers = [
        ProducerFact("worker-1", 10, {"dsl.step.executed": 2}, is_closed=False, is_healed=False, arrived=7),
        ProducerFact("api-1", 5, {"dsl.step.executed": 1}, is_closed=True, is_healed=False, arrived=5),
    ]
    assert (events.gaps, events.dropped.total(), events.unknown_tails) == (3, 3, 1)
