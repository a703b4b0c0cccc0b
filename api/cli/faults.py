"""Faults of a command file as a person reads them: where, what, the line with a caret, what should be there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api.cli.terminal import cells, clean, clip
from dsl.errors import Fault

#: Columns of a source line that are shown; the caret is always among them.
MAX_COLUMNS = 120


def near(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def render(fault: Fault, source: str, lines: Sequence[str], kind: str = "") -> list[str]:
    """The lines of one fault.

    Args:
        fault: What is wrong.
        source: The file, as the person named it.
        lines: Of its text; empty when it could not be read.
        kind: What stands before the message, such as `warning: `.
    """
    place = ":".join(str(part) for part in (source, fault.line, fault.column) if part is not None)
    rendered = [f"{place}: {kind}{clean(fault.message)} ({fault.code})"]
    if fault.line is not None and fault.line <= len(lines):
        rendered += _excerpt(lines[fault.line - 1], fault.line, fault.column or 1)
    if fault.expected:
        rendered.append(f"      expected: {clean(fault.expected)}")
    if fault.nearest:
        rendered.append(f"      did you mean: {clean(fault.nearest)}")
    return rendered


def fault_line(fault: Mapping[str, Any]) -> str:
    """One fault of a problem: where, what, what was expected, and what was meant."""
    line, column, path = (fault.get(name) for name in ("line", "column", "path"))
    place = f"{line}:{column}" if line else path
    meant = f"; did you mean {fault['nearest']}?" if fault.get("nearest") else ""
    message: str = fault["message"]
    expected = str(fault.get("expected") or "")
    if expected and expected not in message:
        meant = f"; expected {expected}{meant}"
    named = not place or message.startswith(f"{place}:")
    return f"{message}{meant}" if named else f"{place}: {message}{meant}"


def _excerpt(line: str, number: int, column: int) -> list[str]:
    """The source line and a caret below the character; a long line is cut around it."""
    start = max(0, column - MAX_COLUMNS // 2) if cells(line) > MAX_COLUMNS else 0
    shown = clean(line[start:])
    gutter = f"{number:>5} | "
    before = cells(clean(line[start : column - 1]))
    return [gutter + clip(shown, MAX_COLUMNS), " " * (len(gutter) - 2) + "| " + " " * before + "^"]
