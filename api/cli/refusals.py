"""What the API refused, in words: every fault with its place, what was expected, and what was meant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.cli.terminal import clean


def refusal_lines(problem: Mapping[str, Any], detail: str) -> tuple[str, list[str]]:
    """What is wrong, in one line, and a line for each fault that this one does not tell whole.

    Args:
        problem: Of RFC 9457, or nothing.
        detail: What is wrong; more lines than one of it are left to the caller.
    """
    faults = problem.get("errors", ())
    lines = [fault_line(fault) for fault in faults]
    if len(faults) == 1 and clean(str(faults[0]["message"])) == detail:
        return lines[0], []
    return detail, [line for line in lines if line != detail]


def fault_line(fault: Mapping[str, Any]) -> str:
    """One fault: where, what, what was expected, and what was meant; nothing of it twice."""
    line, column, path = (fault.get(name) for name in ("line", "column", "path"))
    place = f"{line}:{column}" if line else path
    said = str(fault["message"])
    expected, nearest = str(fault.get("expected") or ""), str(fault.get("nearest") or "")
    if expected and expected not in said:
        said += f"; expected {expected.removeprefix('expected ')}"
    if nearest and f"did you mean {nearest}?" not in said:
        said += f"; did you mean {nearest}?"
    return clean(said if not place or said.startswith((f"{place}:", f"{place} ")) else f"{place}: {said}")
