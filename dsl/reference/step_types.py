"""What a step type says of itself: its class, its models and its docstring, as one plain value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dsl.reference.docstrings import Docstring, docstring_if_any
from dsl.reference.parameters import Parameter, parameters_of
from dsl.step import Effect, Step

_EFFECTS = {
    Effect.NONE: "None: it only computes.",
    Effect.READS: "Reads the database; changes nothing.",
    Effect.DATABASE: "Database: change, result and mutation record commit in one transaction, or none of them does. "
    "A dry run makes the change and rolls it back.",
    Effect.EXTERNAL: "Outside of the database: at least once. A dry run says what it would have sent.",
    Effect.CHILDREN: "That of the steps in it.",
}


@dataclass(frozen=True, slots=True)
class StepType:
    """A step type, described.

    Attributes:
        name: As `type:` names it.
        effect: `none`, `reads`, `database`, `external` or `children`.
        summary: One sentence.
        body: More of it; may be empty.
        effect_meaning: What the effect means for durability and dry runs.
        parameters: Keys of `with:`.
        output: What later steps see as `steps.<id>.output`.
        failures: Why it fails, by error class.
        measures: What it counts for telemetry, by key.
        example: One step, as YAML; empty when the type gives none.
    """

    name: str
    effect: str
    summary: str
    body: str
    effect_meaning: str
    parameters: tuple[Parameter, ...]
    output: str
    failures: Mapping[str, str]
    measures: Mapping[str, str]
    example: str


def describe(name: str, step: Step) -> StepType:
    """Everything a step type says of itself."""
    says = docstring_if_any(type(step))
    return StepType(
        name=name,
        effect=step.effect.value,
        summary=says.summary,
        body=says.body,
        effect_meaning=_prose(says.sections.get("Effect", "")) or _EFFECTS[step.effect],
        parameters=tuple(_parameters(step, says)),
        output=_prose(says.sections.get("Output", "")),
        failures=says.items("Raises"),
        measures=says.items("Measures"),
        example=_example(says),
    )


def _parameters(step: Step, says: Docstring) -> Iterator[Parameter]:
    yield from parameters_of(step.Params.model_json_schema())
    for key in step.conditions:
        yield Parameter(key, "condition, without braces", True, "", "What decides.", "condition")
    blocks = says.items("Blocks")
    for key, is_required in step.blocks.items():
        yield Parameter(key, "list of steps", is_required, "", blocks.get(key, ""), "steps")
    if step.Literals is not None:
        yield from parameters_of(step.Literals.model_json_schema(), "literal")


def _example(says: Docstring) -> str:
    written: Any = yaml.safe_load(says.sections.get("Example", ""))
    return "" if written is None else yaml.safe_dump([written], sort_keys=False, width=100, allow_unicode=True)


def _prose(section: str) -> str:
    return " ".join(section.split())
