"""What was expected of a test beside what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dsl.rehearsal.fixtures import Expected
from dsl.rehearsal.run import Rehearsal


class _Missing:
    """Stands for what is not there at all."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was expected.

    Attributes:
        at: What it is: `outcome`, `result.title`, `outputs.create.tags[0]`.
        expected: A JSON value, or `MISSING`.
        found: Likewise.
    """

    at: str
    expected: Any
    found: Any


def differences(expected: Expected, found: Rehearsal) -> tuple[Difference, ...]:
    """Everything that is not as expected, in the order of what is expected."""
    return tuple(_differences(expected, found))


def _differences(expected: Expected, found: Rehearsal) -> Iterator[Difference]:
    if found.outcome != expected.how:
        yield Difference("outcome", expected.how, found.outcome)
        if found.error is not None and found.outcome == "failed":
            yield Difference("error", MISSING, {"step": found.failed_path, "message": found.error_message})
    yield from _of_path(expected, found)
    if "result" in expected.model_fields_set and found.outcome == expected.how:
        yield from compare("result", expected.result, found.result)
    for path, value in expected.outputs.items():
        yield from compare(f"outputs.{path}", value, found.outputs.get(path, MISSING))
    for path, parameters in expected.parameters.items():
        known = found.parameters.get(path)
        if known is None:
            yield Difference(f"parameters.{path}", parameters, MISSING)
            continue
        for key, value in parameters.items():
            yield from compare(f"parameters.{path}.{key}", value, known.get(key, MISSING))
    if expected.mutations is not None:
        yield from compare(
            "mutations", {path: rows for path, rows in expected.mutations.items() if rows}, found.mutations
        )
    yield from _of_error(expected, found)


def _of_path(expected: Expected, found: Rehearsal) -> Iterator[Difference]:
    if expected.path is not None:
        wanted = [_entry(*item) for step in expected.path for item in _steps(step)]
        taken = [_entry(*item) for item in found.path]
        if wanted != taken:
            yield Difference("path", wanted, taken)


def _of_error(expected: Expected, found: Rehearsal) -> Iterator[Difference]:
    if expected.faults is not None:
        yield from compare("faults", expected.faults, {fault.path: fault.code for fault in found.faults})
    if expected.error is None or found.error is None:
        return
    facts = {"step": found.failed_path, "code": found.error_code, "type": found.error_type}
    for key, fact in facts.items():
        wanted = getattr(expected.error, key)
        if wanted is not None and wanted != fact:
            yield Difference(f"error.{key}", wanted, fact)
    if expected.error.message is not None and expected.error.message not in found.error_message:
        yield Difference("error.message", expected.error.message, found.error_message)


def compare(at: str, expected: Any, found: Any) -> Iterator[Difference]:  # noqa: ANN401 - any JSON value
    """Every place in which two JSON values differ; true is not 1."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys((*expected, *found)):
            yield from compare(f"{at}.{key}", expected.get(key, MISSING), found.get(key, MISSING))
    elif isinstance(expected, list) and isinstance(found, list):
        for index in range(max(len(expected), len(found))):
            sides = (side[index] if index < len(side) else MISSING for side in (expected, found))
            yield from compare(f"{at}[{index}]", *sides)
    elif not _same(expected, found):
        yield Difference(at, expected, found)


def _same(left: object, right: object) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def _steps(step: str | Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(step, str):
        yield step, "succeeded"
    else:
        yield from step.items()


def _entry(path: str, outcome: str) -> str:
    return path if outcome == "succeeded" else f"{path}: {outcome}"


def shown(value: object) -> str:
    """A side of a difference on one line."""
    return repr(value) if value is MISSING else json.dumps(value, ensure_ascii=False)
