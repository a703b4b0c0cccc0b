"""SQL lives beside the module that runs it: `store.sql` is the twin of `store.py`.

A twin is a list of blocks. Each opens with its name, says in comments what it is for (parameters with their units, the
index it relies on), and holds one statement with named parameters:

    -- name: fetch_execution
    -- One execution. execution_id: uuid. Primary key.
    select * from command_executions where id = %(execution_id)s;

A module reads its twin once, `SQL = queries(__file__)`, and runs `SQL["fetch_execution"]`. A test prepares every
statement of every twin on the real schema (tests/integration/test_sql_twins.py), so none rots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import LiteralString, NoReturn

_NAME = re.compile(r"--\s*name:\s*(?P<name>\S*)\s*")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class Queries(Mapping[str, LiteralString]):
    """The statements of one twin by name, in the order of the file.

    Asking for an unknown name raises `KeyError` with the file and the nearest name.
    """

    def __init__(self, path: Path, statements: Mapping[str, LiteralString]) -> None:
        self.path = path
        self._statements = statements

    def __getitem__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            near = get_close_matches(name, self._statements, n=1)
            suggestion = f"; did you mean {near[0]}?" if near else ""
            raise KeyError(f"{self.path.name} has no statement {name!r}{suggestion}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def queries(module_file: str) -> Queries:
    """The statements of a module's twin; call it with `__file__`, once, at module level.

    Raises:
        FileNotFoundError: The module has no twin.
        ValueError: A block without name or statement, a name used twice or not `lower_snake`, or a statement before
            the first name; with file and line.
    """
    path = Path(module_file).with_suffix(".sql")
    return Queries(path, parse(path.read_text(encoding="utf-8"), path.name))


def parse(text: str, source: str) -> dict[str, LiteralString]:
    """The blocks of a twin's text; `source` is what errors call it. Raises `ValueError` as `queries` does."""
    bodies: dict[str, list[str]] = {}
    opened_at: dict[str, int] = {}
    body: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        match = _NAME.fullmatch(line.strip())
        if match is not None:
            name = match["name"]
            if not _IDENTIFIER.fullmatch(name):
                _refuse(source, number, f"{name!r} is not a name: lower case letters, digits and _ make one")
            if name in bodies:
                _refuse(source, number, f"{name!r} is already the name of the statement of line {opened_at[name]}")
            opened_at[name] = number
            body = bodies[name] = []
        elif body is not None:
            if body or not _is_description(line):
                body.append(line)
        elif not _is_description(line):
            _refuse(source, number, "a statement needs a line `-- name: ...` above it")
    for name, lines in bodies.items():
        if all(_is_description(line) for line in lines):
            _refuse(source, opened_at[name], f"{name!r} has no statement")
    return {name: _literal("\n".join(lines)) for name, lines in bodies.items()}


def _is_description(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("--")


def _literal(statement: str) -> LiteralString:
    # The one place where text is declared literal (mypy takes any str for it, psycopg asks for no less). It is a file
    # of this repository, reviewed like code: no caller's value ever becomes part of it.
    return statement.strip().removesuffix(";").rstrip()


def _refuse(source: str, line: int, fault: str) -> NoReturn:
    raise ValueError(f"{source}:{line}: {fault}")
