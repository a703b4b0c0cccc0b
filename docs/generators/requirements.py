"""docs/requirements.md: for each requirement, the tests that prove it."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from docs.generators.markdown import document

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "requirements.toml"

INTRODUCTION = """
Each requirement has an id; a test that proves one names it: `@pytest.mark.req("C-07")`. This page is the sum of those
marks, and `make check` fails when it is out of date.
"""

#: (file from the root, name of the test) of each test that proves a requirement, by requirement id.
Proofs: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]


def page() -> str:
    """The page."""
    proofs = find_proofs(ROOT / "tests")
    sections = []
    for heading, requirements in read_requirements().items():
        sections.append(f"## {heading.capitalize()}")
        sections.extend(_section(name, text, proofs.get(name, ())) for name, text in requirements.items())
    return document("Requirements", "the tests and `docs/requirements.toml`", INTRODUCTION, sections)


def read_requirements() -> dict[str, dict[str, str]]:
    """What each id asks, by heading."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def find_proofs(folder: Path) -> Proofs:
    """Every `req` mark of every test module below `folder`, in the order of the files; nothing is imported."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for name, test in _marks(module, _module_marks(module)):
            found[name].append((path.relative_to(folder.parent).as_posix(), test))
    return found


def _marks(scope: ast.Module | ast.ClassDef, inherited: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(requirement id, test) of each test in a module or class; marks of a class or module count for all in it."""
    for node in scope.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        marks = [*inherited, *(mark for decorator in node.decorator_list for mark in _ids(decorator))]
        if isinstance(node, ast.ClassDef):
            yield from _marks(node, marks)
        elif node.name.startswith("test"):
            yield from ((mark, node.name) for mark in dict.fromkeys(marks))


def _module_marks(module: ast.Module) -> list[str]:
    values = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and any(isinstance(to, ast.Name) and to.id == "pytestmark" for to in node.targets)
    ]
    return [mark for value in values for each in getattr(value, "elts", [value]) for mark in _ids(each)]


def _ids(expression: ast.expr) -> Iterator[str]:
    """The ids of `pytest.mark.req(...)`; nothing for any other expression.

    Raises:
        ValueError: An id is not written out, so this reader cannot see it.
    """
    if isinstance(expression, ast.Call) and ast.unparse(expression.func) == "pytest.mark.req":
        for argument in expression.args:
            yield str(ast.literal_eval(argument))


def _section(name: str, text: str, tests: Sequence[tuple[str, str]]) -> str:
    by_file: defaultdict[str, list[str]] = defaultdict(list)
    for path, test in tests:
        by_file[path].append(test.removeprefix("test_").replace("_", " "))
    lines = [f"### {name}\n\n{text}"]
    for path, sentences in by_file.items():
        lines.append(f"- [{path}](../{path})\n" + "\n".join(f"  - {sentence}" for sentence in sentences))
    return "\n\n".join(lines[:1]) + ("\n\n" + "\n".join(lines[1:]) if by_file else "\n\nNo test names it yet.")
