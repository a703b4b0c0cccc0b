"""What statistics are told of."""

from __future__ import annotations

import pytest

from telemetry.analytics.groups import SOURCES, Member, meant
from telemetry.events import CATALOGUE, event_type


@pytest.mark.req("A-05", "C-16")
def test_steps_that_call_tools_stand_in_until_tools_have_events() -> None:
    steps = {Member("dsl", "tool.call"), Member("dsl", "ai.generate"), Member("dsl", "transform")}
    chat, tool, model = Member("chat", "small"), Member("tool", "weather"), Member("llm", "small")

    assert meant(steps, "tool") == {Member("dsl", "tool.call")}
    assert meant({*steps, tool}, "tool") == {tool}
    assert meant({*steps, chat}, "model") == {Member("dsl", "ai.generate"), chat}
    assert meant({*steps, chat, model}, "model") == {model, chat}
    assert meant(steps, "step") == steps


def test_what_is_told_from_are_ends_of_something() -> None:
    types = {name for sources in SOURCES.values() for source in sources for name in source.types}

    assert types <= {event_type(cls) for cls in CATALOGUE if "outcome" in cls.__struct_fields__}
    assert "dsl.step.skipped" not in types
