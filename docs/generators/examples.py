"""Section of docs/reference/cli.md: examples by what somebody wants to get done, from docs/examples.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.generators.markdown import fenced

#: The examples: `task` is a list of `title` and `example`, that one of `run` and `does`.
SOURCE = Path(__file__).parents[1] / "examples.toml"

TITLE = "Examples by task"

_INTRODUCTION = """
A test runs each of these as it is written. Options take their values with `=` or with a blank. Times are `90m`, `6h` or
`7d`; `--start` and `--end` take `now` and RFC 3339 besides.
"""


def section() -> str:
    """The section, with a heading for each task."""
    tasks = tomllib.loads(SOURCE.read_text("utf-8"))["task"]
    return "\n\n".join([f"## {TITLE}", _INTRODUCTION.strip(), *(part for task in tasks for part in _task(task))]) + "\n"


def _task(task: dict[str, Any]) -> Iterator[str]:
    yield f"### {task['title']}"
    yield fenced("\n\n".join(f"# {example['does']}\n{example['run']}" for example in task["example"]), "bash")
