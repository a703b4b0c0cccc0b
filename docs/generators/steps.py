"""docs/reference/steps.md: every step type, from its class and its parameter models."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from docs.generators import json_schema
from docs.generators.docstrings import Docstring, docstring_of
from docs.generators.markdown import code, document, fenced, table
from dsl.step import Effect, Step
from dsl.steps import REGISTRY

INTRODUCTION = """
A step is a map with `id`, `type` and `with:`, and may have `if:` (see [the language](language.md)). Every value of
`with:` may hold templates, unless it is marked *literal*. A text that is one whole `{{ expression }}` keeps the type of
its value. Keys that are not listed are faults. What a step gives is `steps.<id>.output` to the steps after it.

Every step type, whatever it does, is timed, counted and recorded without doing anything for it:
[`dsl.step.executed`, `dsl.step.failed` or `dsl.step.skipped`](events.md).
"""

_EFFECTS = {
    Effect.NONE: "None: it only computes.",
    Effect.READS: "Reads the database; changes nothing.",
    Effect.DATABASE: "Database: change, result and mutation record commit in one transaction, or none of them does. "
    "A dry run makes the change and rolls it back.",
    Effect.EXTERNAL: "Outside of the database: at least once. A dry run says what it would have sent.",
    Effect.CHILDREN: "That of the steps in it.",
}


def page() -> str:
    """The page."""
    return document("Step types", "`dsl/steps/`", INTRODUCTION, (_section(*item) for item in sorted(REGISTRY.items())))


def example_of(step: Step) -> str:
    """Its example, as one step of block-style YAML."""
    written = yaml.safe_load(docstring_of(type(step)).sections["Example"])
    return yaml.safe_dump([written], sort_keys=False, width=100, allow_unicode=True)


def _section(name: str, step: Step) -> str:
    says = docstring_of(type(step))
    parts = (
        f"## {name}",
        says.summary,
        says.body,
        f"**Effect.** {says.sections.get('Effect') or _EFFECTS[step.effect]}",
        table(("key of `with:`", "value", "default", "meaning"), _keys(step, says)),
        f"**Output.** {_prose(says.sections['Output'])}",
        _failures(says),
        fenced(example_of(step), "yaml"),
    )
    return "\n\n".join(part for part in parts if part)


def _keys(step: Step, says: Docstring) -> Iterator[tuple[str, str, str, str]]:
    yield from json_schema.rows(step.Params.model_json_schema())
    for key in step.conditions:
        yield code(key), "condition, without braces", "required", "What decides."
    blocks = says.items("Blocks")
    for key, is_required in step.blocks.items():
        yield code(key), "list of steps", "required" if is_required else "", blocks[key]
    if step.Literals is not None:
        for key, kind, default, meaning in json_schema.rows(step.Literals.model_json_schema()):
            yield key, f"literal: {kind}", default, meaning


def _failures(says: Docstring) -> str:
    raised = says.items("Raises").items()
    return "**Fails.**\n\n" + "\n".join(f"- `{error}`: {reason}" for error, reason in raised) if raised else ""


def _prose(section: str) -> str:
    return " ".join(section.split())
