"""The example of every step type, run by a worker on a real database: it works, and measures what it says."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import yaml

from dsl.reference.step_types import describe
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import TASKS
from telemetry.events import StepExecuted
from workers.testing import World

#: What examples take for granted: inputs, and steps before them.
INPUTS: dict[str, Any] = {"body": "buy milk", "email": "ada@example.org", "n": 5, "names": ["Ada", "Bob"]}
BEFORE = [
    {"id": "create", "type": "fragment.create", "with": {"type": "note", "title": "milk"}},
    {"id": "open", "type": "fragment.query", "with": {"type": "note"}},
]


def source(name: str) -> str:
    """A command whose last step is the example of a step type."""
    (step,) = yaml.safe_load(describe(name, REGISTRY[name]).example)
    before = [each for each in BEFORE if each["id"] != step["id"]]
    return yaml.safe_dump({"slug": "example", "steps": [*before, step]})


def an_id(name: str, world: World) -> Any:  # noqa: ANN401 - of a task or of a fragment
    """What `inputs.id` stands for in an example."""
    if name == "model.update":
        return 1
    return world.run(yaml.safe_dump({"slug": "before", "steps": BEFORE[:1]})).result["fragment_id"]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_example_of_a_step_type_works_and_measures_what_it_says(
    name: str, world: World, tasks: psycopg.Connection[Any]
) -> None:
    world.settings = DslSettings(tables=(TASKS,))
    inputs = {**INPUTS, "id": an_id(name, world)}

    execution = world.run(source(name), inputs)

    assert (execution.state, execution.error) == ("succeeded", None)
    (*_, event) = [
        event for event in world.recorder.events if isinstance(event, StepExecuted) and event.step_type == name
    ]
    assert set(event.measures or {}) == set(describe(name, REGISTRY[name]).measures)
