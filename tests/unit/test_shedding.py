"""What is dropped first."""

from __future__ import annotations

import pytest
from fixtures.samples import encoded, one_of_each

from telemetry.events import event_type
from telemetry.shedding import PROGRESS, is_progress, type_of_encoded


@pytest.mark.req("C-13")
def test_progress_is_what_steps_did_and_fragments_became_and_nothing_else() -> None:
    names = {event_type(event) for event in one_of_each() if is_progress(*encoded(event))}

    assert names == {
        "dsl.step.executed",
        "dsl.step.skipped",
        "chat.request.started",
        "fragment.created",
        "fragment.updated",
        "fragment.deleted",
    }
    assert names == set(map(event_type, PROGRESS))


def test_an_encoded_event_says_of_what_type_it_is() -> None:
    events = one_of_each()

    assert list(map(type_of_encoded, encoded(*events))) == list(map(event_type, events))
