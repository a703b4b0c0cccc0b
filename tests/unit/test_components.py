"""Names of components, as people and other systems write them."""

from __future__ import annotations

import pytest

from telemetry.components import ALIASES, COMPONENTS, component_name, event_type_name, nearest
from telemetry.event_types import is_event_type, nearest_event_type


@pytest.mark.parametrize("name", ["tool", "tool_telemetry", "Tool_Telemetry", " tools "])
def test_a_component_has_several_names(name: str) -> None:
    assert component_name(name) == "tool"
    assert event_type_name(name) == "tool"


def test_no_other_name_is_that_of_another_component() -> None:
    assert set(ALIASES) & set(COMPONENTS) == set()
    assert set(ALIASES.values()) <= set(COMPONENTS)


def test_what_is_no_name_stays_as_it_is() -> None:
    assert (component_name("Redis"), event_type_name("dsl.step.Failed")) == ("redis", "dsl.step.Failed")


@pytest.mark.parametrize(
    ("typed", "meant"), [("tol", "tool"), ("fragmnt_telemetry", "fragment"), ("comand", "command"), ("zebra", None)]
)
def test_what_is_no_name_has_a_nearest_one(typed: str, meant: str | None) -> None:
    assert nearest(typed, COMPONENTS) == meant


@pytest.mark.parametrize("text", ["dsl.step.failed", "dsl.step", "dsl", "tool", "tool_telemetry", "command.execution"])
def test_events_are_asked_for_by_type_or_by_its_first_words(text: str) -> None:
    assert is_event_type(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("dsl.stp", "dsl.step"), ("dsl.st", "dsl.step"), ("comand", "command"), ("zebra", None), ("", None)],
)
def test_what_is_no_type_of_events_has_a_nearest_one(text: str, meant: str | None) -> None:
    assert (is_event_type(text), nearest_event_type(text)) == (False, meant)
