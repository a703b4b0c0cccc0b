"""A filter as text, in its one canonical form: reading that gives the same filter. Pure."""

from __future__ import annotations

import re

from telemetry.filters.fields import BY_NAME
from telemetry.filters.kinds import Kind
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Starts, Test, Value

#: Values that need no quotes.
_BARE = re.compile(r"[A-Za-z0-9_/:@+\[\]-]+(?:\.[A-Za-z0-9_/:@+\[\]-]+)*")


def show(asked: Filter) -> str:
    """The text of a filter; empty for one that lets everything through."""
    return " ".join(map(_clause, asked.clauses))


def _clause(clause: Clause) -> str:
    kind = BY_NAME[clause.field].kind
    return f"{'-' * clause.negated}{clause.field}:{','.join(_test(test, kind) for test in clause.tests)}"


def _test(test: Test, kind: Kind) -> str:
    match test:
        case Is():
            return _value(test.value, kind)
        case Starts():
            return f"{_quoted(test.prefix)}*"
        case Compare():
            return f"{test.operator}{_value(test.value, kind)}"
        case Between():
            return f"{_value(test.low, kind)}..{_value(test.high, kind)}"
        case Exists():
            return "*"


def _value(value: Value, kind: Kind) -> str:
    return _quoted(kind.show(value))


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
