"""Names of components, as people and other systems write them."""

from __future__ import annotations

import pytest

from telemetry.components import ALIASES, COMPONENTS, component_name, event_type_name, nearest


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
