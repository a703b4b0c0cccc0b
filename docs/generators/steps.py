"""docs/reference/steps.md: every step type, from what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable

from docs.generators.markdown import code, document, fenced, table
from dsl.reference.parameters import Parameter
from dsl.reference.step_types import StepType, describe
from dsl.steps import REGISTRY

INTRODUCTION = """
A step is a map with `id`, `type` and `with:`, and may have `if:` (see [the language](language.md)). Every value of
`with:` may hold templates, unless it is marked *literal*. A text that is one whole `{{ expression }}` keeps the type of
its value. Keys that are not listed are faults. What a step gives is `steps.<id>.output` to the steps after it.

Every step type, whatever it does, is timed, counted and recorded without doing anything for it:
[`dsl.step.executed`, `dsl.step.failed` or `dsl.step.skipped`](events.md).
"""


def page() -> str:
    """The page."""
    described = (describe(*item) for item in sorted(REGISTRY.items()))
    return document("Step types", "`dsl/steps/`", INTRODUCTION, map(_section, described))


def _section(step: StepType) -> str:
    parts = (
        f"## {step.name}",
        step.summary,
        step.body,
        f"**Effect.** {step.effect_meaning}",
        table(("key of `with:`", "value", "default", "meaning"), map(_row, step.parameters)),
        f"**Output.** {step.output}",
        _listed("Fails", step.failures.items()),
        _listed("Measures", step.measures.items()),
        fenced(step.example, "yaml"),
    )
    return "\n\n".join(part for part in parts if part)


def _row(key: Parameter) -> tuple[str, str, str, str]:
    kind = f"literal: {key.kind}" if key.reading == "literal" else key.kind
    return code(key.name), kind, "required" if key.required else code(key.default), key.meaning


def _listed(title: str, items: Iterable[tuple[str, str]]) -> str:
    lines = [f"- `{name}`: {text}" for name, text in items]
    return "\n".join((f"**{title}.**\n", *lines)) if lines else ""
