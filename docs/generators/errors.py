"""docs/reference/errors.md: every code of an error or fault, what it means, what to do."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from api.problems import KINDS
from docs.generators.markdown import code, document, table
from dsl.reference.docstrings import docstring_of
from telemetry.errors import WeirError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "errors.toml"

INTRODUCTION = """
Every error has a stable code: the command line shows it in brackets, the API has it in `code`, log lines in `error` or
`reason`. The exit code is 1 for an error below, 2 for a wrong command line, 3 for what nobody foresaw, 130 for Ctrl-C.
"""

_PACKAGES = ("api", "workers", "dsl", "telemetry", "migrations")
_CLASS = re.compile(r"^class \w+\(\w*(?:Error|Failed)\):$", re.MULTILINE)
_CODE = re.compile(r"[a-z_]+\.[a-z_]+")


def page() -> str:
    """The page.

    Raises:
        ValueError: A class has a code that docs/errors.toml says nothing about.
    """
    given = read()
    known = {kind.code for kind in KINDS}
    classes = errors_of(known)
    missing = sorted({each.code for each in classes} - set(given["errors"]))
    if missing:
        raise ValueError(f"docs/errors.toml does not say what to do about {', '.join(missing)}")
    errors = [(each.code, docstring_of(each).summary, given["errors"][each.code]) for each in classes]
    return document(
        "Errors",
        "the error classes, `api/problems.py` and `docs/errors.toml`",
        INTRODUCTION,
        [
            "## Errors of the command line and of processes",
            *(f"### {name}\n\n{means}\n\n{remedy}" for name, means, remedy in sorted(errors)),
            "## Problems of the REST API\n\nWith their statuses on [a page of their own](problems.md); the command line"
            " and log lines name them too.",
            _table((kind.code, kind.meaning, kind.remedy) for kind in KINDS),
            "## Faults\n\nOne error may have many faults, each with a code and a place.",
            *(_faults(name, faults) for name, faults in given["faults"].items()),
        ],
    )


def read() -> dict[str, Any]:
    """What docs/errors.toml says."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def errors_of(known: set[str]) -> list[type[WeirError]]:
    """Every class of error whose code is not among those; whatever defines one is imported."""
    for path in sources():
        if _CLASS.search(path.read_text(encoding="utf-8")):
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    by_code = {each.code: each for each in _below(WeirError) if each.__module__.split(".")[0] in _PACKAGES}
    return [each for name, each in by_code.items() if name not in known]


def written_codes() -> set[str]:
    """Every text of the source that has the form of a code, and the first word of a documented fault."""
    families = {name.split(".")[0] for group in read()["faults"].values() for name in group if "." in name}
    found = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                found.add(node.value)
    return {name for name in found if name.split(".")[0] in families}


def sources() -> Iterator[Path]:
    """Every module of the product."""
    for package in _PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def _below(root: type[WeirError]) -> Iterator[type[WeirError]]:
    for each in root.__subclasses__():
        yield from _below(each)
        yield each


def _faults(name: str, group: Mapping[str, Any]) -> str:
    rows = ((each, *says) for each, says in group.items() if each != "about")
    return f"### Faults: {name}\n\n{group['about']}\n\n{_table(rows)}"


def _table(rows: Any) -> str:  # noqa: ANN401 - an iterable of three texts
    return table(("code", "what it means", "what to do"), ((code(name), means, todo) for name, means, todo in rows))
