"""Step types of users: found through the entry-point group `weir.steps`, beside the built-in ones.

A broken one is told and left out; it takes nothing else with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from types import MappingProxyType
from typing import Any, cast

import structlog
from pydantic import BaseModel

from dsl.step import Effect, Step
from dsl.steps import REGISTRY
from telemetry.events import MEASURES, Measures

log = structlog.get_logger(__name__)

#: Entry-point group; each entry names a subclass of `dsl.step.Step`.
GROUP = "weir.steps"

_TYPE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_MAX_TYPE = 64
_MEASURE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_WORDS = 64


class StepTypeBroken(Exception):
    """An entry point does not lead to a step type that can be used."""


@dataclass(frozen=True, slots=True)
class BrokenStepType:
    """An entry point that was left out.

    Attributes:
        entry_point: `name = module:attribute`.
        distribution: The package it comes from, with its version.
        reason: One sentence.
    """

    entry_point: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"the step type {self.entry_point} of {self.distribution} is left out: {self.reason}"


@dataclass(frozen=True, slots=True)
class StepTypes:
    """Every step type of a process.

    Attributes:
        registry: By registered name; the built-in ones among them.
        measures: What they may report of themselves.
        broken: What was left out, in the order it was found.
    """

    registry: Mapping[str, Step]
    measures: Measures
    broken: tuple[BrokenStepType, ...] = ()


def discover(points: Iterable[EntryPoint] | None = None, *, tables: Iterable[str] = ()) -> StepTypes:
    """The built-in step types, and those that installed packages add. Never raises; what is broken is logged.

    Args:
        points: Of the group `weir.steps`; by default those of all installed packages.
        tables: Names of declared tables: words that the measure `model` may have.
    """
    found = find_step_types(points, tables=tables)
    for one in found.broken:
        log.warning("step_type_left_out", entry_point=one.entry_point, distribution=one.distribution, reason=one.reason)
    return found


def find_step_types(points: Iterable[EntryPoint] | None = None, *, tables: Iterable[str] = ()) -> StepTypes:
    """As `discover`, for those who tell a person what is broken instead of a log."""
    registry: dict[str, Step] = dict(REGISTRY)
    measures: dict[str, tuple[str, ...] | None] = dict(MEASURES)
    broken: list[BrokenStepType] = []
    for point in entry_points(group=GROUP) if points is None else points:
        try:
            step = _load(point, registry, measures)
        except StepTypeBroken as error:
            broken.append(BrokenStepType(f"{point.name} = {point.value}", _distribution(point), str(error)))
        else:
            registry[step.type] = step
            measures |= step.measures
    measures["model"] = (*(MEASURES["model"] or ()), *tables)
    return StepTypes(MappingProxyType(registry), MappingProxyType(measures), tuple(broken))


def _load(point: EntryPoint, registry: Mapping[str, Step], measures: Measures) -> Step:
    try:
        found: object = point.load()
        step = found() if isinstance(found, type) and issubclass(found, Step) and not isabstract(found) else found
        return _checked(step, registry, measures)
    except StepTypeBroken:
        raise
    except (Exception, SystemExit) as error:
        raise StepTypeBroken(f"{type(error).__name__}: {error}") from error


def _checked(step: object, registry: Mapping[str, Step], measures: Measures) -> Step:
    """The step type, if it is what the rest relies on; a class may say anything."""
    if not isinstance(step, Step):
        raise StepTypeBroken("it is not a subclass of dsl.step.Step that has a `run`")
    name = cast("Any", getattr(step, "type", None))
    if not isinstance(name, str) or len(name) > _MAX_TYPE or not _TYPE.fullmatch(name):
        raise StepTypeBroken("`type` is not a name such as `acme.greet`: lower case letters, digits, _ and .")
    if name in registry:
        what = "a built-in step type" if name in REGISTRY else "the step type of another package"
        raise StepTypeBroken(f"`{name}` is the name of {what}")
    if not isinstance(getattr(step, "effect", None), Effect):
        raise StepTypeBroken("`effect` is not one of dsl.step.Effect")
    if not _is_model(getattr(step, "Params", None)) or not (step.Literals is None or _is_model(step.Literals)):
        raise StepTypeBroken("`Params`, and `Literals` if there are any, are subclasses of dsl.step.StepParams")
    if step.effect is Effect.EXTERNAL and type(step).preview is Step.preview:
        raise StepTypeBroken("its effect is outside of the database, so it needs a `preview` for dry runs")
    for key, words in step.measures.items():
        if not _is_measure(key, words):
            raise StepTypeBroken(f"the measure {key!r} is neither a number (None) nor a tuple of a few short words")
        if key in measures and measures[key] != words:
            raise StepTypeBroken(f"the measure {key!r} means something else already")
    return step


def _is_model(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def _is_measure(key: object, words: object) -> bool:
    if not isinstance(key, str) or not _MEASURE.fullmatch(key):
        return False
    if words is None:
        return True
    if not isinstance(words, tuple) or not 0 < len(words) <= _MAX_WORDS:
        return False
    return all(isinstance(word, str) and _WORD.fullmatch(word) for word in words)


def _distribution(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
