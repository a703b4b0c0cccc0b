"""What an execution that goes on from another takes over of its ledger. No clock, no table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsl.command import Command, StepSpec
from dsl.values import canonical_json

_INDEX = re.compile(r"\[\d+\]")
_LAST = re.compile(r"[./][^./\[]*$|\[\d+\]$")

#: What of a `list.map` its list hangs on; `as` as it is unless given.
_DECIDING: Mapping[str, object] = {"items": None, "as": "item"}


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is done, and what type it was of."""

    path: str
    step_type: str


@dataclass(frozen=True, slots=True)
class Takeover:
    """What need not be done again.

    Attributes:
        steps: Paths of steps.
        lists: Paths of maps whose lists stay as they are.
        runs_again: Maps that begin anew although they had begun, for their list is another now: paths without indexes,
            in order; of nested ones the outer one.
    """

    steps: list[str]
    lists: list[str]
    runs_again: list[str]


def take_over(
    before: Mapping[str, Any] | None, command: Command, done: Sequence[Done], lists: Sequence[str], anew: Sequence[str]
) -> Takeover:
    """What `command` takes over: steps that are the same by path and type, but for those of maps whose list is another.

    Around such a map everything is entered again, in order to reach it; what is done there stays done.

    Args:
        before: The definition that ran, as plain values; none when it is the same.
        command: The definition that will run.
        done: Steps that are done, in their order.
        lists: Paths of the maps that had their list.
        anew: Ids of steps that run anew whatever became of them.
    """
    kept = [path for path in lists if _root(path) not in anew]
    changed = set() if before is None else _changed(before, command)
    begins = {path for path in kept if _INDEX.sub("", path) in changed}
    outermost = {path for path in begins if begins.isdisjoint(_around(path))}
    entered = {around for path in outermost for around in _around(path)}
    types = dict(_types(command.steps, ""))

    def stays(path: str) -> bool:
        return path not in begins and begins.isdisjoint(_around(path))

    return Takeover(
        steps=[
            step.path
            for step in done
            if types.get(_INDEX.sub("", step.path)) == step.step_type
            and _root(step.path) not in anew
            and step.path not in entered
            and stays(step.path)
        ],
        lists=[path for path in kept if stays(path)],
        runs_again=sorted({_INDEX.sub("", path) for path in outermost}),
    )


def _changed(before: Mapping[str, Any], command: Command) -> set[str]:
    """Paths without indexes of steps whose list is not what it was, as it is written."""
    was = dict(_deciding(command.steps, before.get("steps"), ""))
    return {path for path, said in _deciding(command.steps, command.document.get("steps"), "") if was[path] != said}


def _deciding(steps: Sequence[StepSpec], written: object, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Of each step its path and what its list hangs on, in a definition that may lack it."""
    found = {step.get("id"): step for step in written if isinstance(step, dict)} if isinstance(written, list) else {}
    for spec in steps:
        step = found.get(spec.id, {})
        given = step.get("with")
        given = given if isinstance(given, dict) else {}
        said = {name: given.get(name, default) for name, default in _DECIDING.items()}
        yield prefix + spec.id, canonical_json([step.get("type"), said])
        for name, block in spec.blocks.items():
            yield from _deciding(block, given.get(name), f"{prefix}{spec.id}.")


def _types(steps: Sequence[StepSpec], prefix: str) -> Iterator[tuple[str, str]]:
    """The type of each step by its path without indexes."""
    for spec in steps:
        path = prefix + spec.id
        yield path, spec.type
        for block in spec.blocks.values():
            yield from _types(block, f"{path}.")


def _around(path: str) -> Iterator[str]:
    """Paths of the steps that a step is part of, from the inside out."""
    while (shorter := _LAST.sub("", path)) != path:
        path = shorter
        if not path.endswith("]"):
            yield path


def _root(path: str) -> str:
    return re.split(r"[.\[/]", path, maxsplit=1)[0]
