"""What a filter is, once it is read: clauses, all of which must hold. Values only; equal when they ask the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

#: What a field is compared with.
Value: TypeAlias = str | int | UUID | bytes | datetime

#: How an ordered field is compared with a value.
Operator = Literal[">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class Is:
    """The field is this value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Starts:
    """The field's text begins so."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Compare:
    """The field is more or less than this value."""

    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Between:
    """The field is neither below `low` nor above `high`."""

    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value at all."""


Test: TypeAlias = Is | Starts | Compare | Between | Exists


@dataclass(frozen=True, slots=True)
class Clause:
    """One field, and what it may be.

    Attributes:
        field: Name in the catalogue (`telemetry.filters.fields`).
        tests: At least one; one of them has to hold. None holds for a field without value.
        negated: Whether instead none may hold.
    """

    field: str
    tests: tuple[Test, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Clauses, all of which have to hold; none at all is everything."""

    clauses: tuple[Clause, ...] = ()

    def and_also(self, other: Filter) -> Filter:
        """What both let through."""
        return Filter(self.clauses + other.clauses)

    def only(self, field: str) -> Value | None:
        """The value that the field is sure to have, where a clause says which."""
        for clause in self.clauses:
            if clause.field == field and not clause.negated and len(clause.tests) == 1:
                test = clause.tests[0]
                if isinstance(test, Is):
                    return test.value
        return None


EVERYTHING: Final = Filter()
