"""A filter as conditions of SQL on `telemetry_events`. Values are always parameters, never text of a statement.

A clause is true or false, never unknown: a test of a column that is null is false, and its negation true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from telemetry.clock import to_unix_us
from telemetry.filters.fields import BY_NAME
from telemetry.filters.kinds import LEVELS
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Starts, Test, Value
from telemetry.ids import least_id_at

#: No space and no user has it.
_NOBODY: Final = UUID(int=0)
_MILLISECOND: Final = timedelta(milliseconds=1)

_COMPARED: Final = {
    ">": sql.SQL("{} > {}"),
    ">=": sql.SQL("{} >= {}"),
    "<": sql.SQL("{} < {}"),
    "<=": sql.SQL("{} <= {}"),
}
_OR, _AND = sql.SQL(" or "), sql.SQL(" and ")
#: The id that the step of a run was declared with; as `telemetry.query.step_id`.
_DECLARED: Final = sql.SQL("split_part(split_part(step_path, '.', -1), '[', 1)")


@dataclass(slots=True)
class Conditions:
    """Conditions, all of which are to hold, and the values of their parameters."""

    all_of: list[sql.Composable] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: sql.Composable, **values: object) -> None:
        """One more, with the values of its own parameters."""
        self.all_of.append(condition)
        self.values |= values

    def where(self) -> sql.Composable:
        """` where ...`; nothing, if there are none."""
        return sql.SQL(" where ") + _AND.join(self.all_of) if self.all_of else sql.SQL("")

    def parameter(self, value: object) -> sql.Composable:
        """A placeholder for one more value."""
        name = f"filter_{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)


def resolved(asked: Filter, user: Callable[[str], bytes], space: Callable[[str], UUID | None]) -> Filter:
    """The filter with the names of users and spaces replaced by what events have of them.

    Args:
        asked: As it was read.
        user: The pseudonym of a user.
        space: The id of a space, if there is one of that name.
    """

    def resolve(test: Test, found: Callable[[str], Value]) -> Test:
        return Is(found(str(test.value))) if isinstance(test, Is) else test

    def replaced(clause: Clause) -> Clause:
        if clause.field == "user":
            return replace(clause, field="user_id", tests=tuple(resolve(test, user) for test in clause.tests))
        if clause.field == "space":
            tests = tuple(resolve(test, lambda name: space(name) or _NOBODY) for test in clause.tests)
            return replace(clause, field="space_id", tests=tests)
        return clause

    return Filter(tuple(map(replaced, asked.clauses)))


def conditions(asked: Filter) -> Conditions:
    """The filter in SQL; `resolved` first."""
    made = Conditions()
    for clause in asked.clauses:
        made.add(_clause(clause, made.parameter))
    return made


Parameter = Callable[[object], sql.Composable]


def _clause(clause: Clause, parameter: Parameter) -> sql.Composable:
    any_of = _OR.join([_test(clause.field, test, parameter) for test in clause.tests])
    # Unknown counts as false, so its negation is true.
    return sql.SQL("({}) is not true" if clause.negated else "({})").format(any_of)


def _test(name: str, test: Test, parameter: Parameter) -> sql.Composable:
    column = sql.Identifier(BY_NAME[name].column)
    if isinstance(test, Exists):
        return sql.SQL("{} is not null").format(column)
    special = _SPECIAL.get(name)
    if special is not None:
        return special(test, parameter)
    match test:
        case Is():
            return sql.SQL("{} = {}").format(column, parameter(test.value))
        case Starts():
            return sql.SQL("starts_with({}, {})").format(column, parameter(test.prefix))
        case Compare():
            return _COMPARED[test.operator].format(column, parameter(test.value))
        case Between():
            return sql.SQL("{} between {} and {}").format(column, parameter(test.low), parameter(test.high))


def _event_type(test: Test, parameter: Parameter) -> sql.Composable:
    """A type, or all whose first words are these."""
    column = sql.Identifier("event_type")
    if isinstance(test, Is):
        whole, words = parameter(test.value), parameter(f"{test.value!s}.")
        return sql.SQL("{} = {} or starts_with({}, {})").format(column, whole, column, words)
    assert isinstance(test, Starts)  # noqa: S101 - what else a text can be tested for is told by its kind
    return sql.SQL("starts_with({}, {})").format(column, parameter(test.prefix))


def _step(test: Test, parameter: Parameter) -> sql.Composable:
    """The whole path of a run, or the id that its step was declared with."""
    column = sql.Identifier("step_path")
    if isinstance(test, Is):
        value = parameter(test.value)
        return sql.SQL("{} = {} or {} = {}").format(column, value, _DECLARED, value)
    assert isinstance(test, Starts)  # noqa: S101 - as above
    value = parameter(test.prefix)
    return sql.SQL("starts_with({}, {}) or starts_with({}, {})").format(column, value, _DECLARED, value)


def _level(test: Test, parameter: Parameter) -> sql.Composable:
    """The levels that it lets through, by name."""
    return sql.SQL("level = any({})").format(parameter([level for level in LEVELS if _is_meant(level, test)]))


def _is_meant(level: str, test: Test) -> bool:
    rank = LEVELS.index
    match test:
        case Is():
            return level == test.value
        case Between():
            return rank(str(test.low)) <= rank(level) <= rank(str(test.high))
        case Compare():
            here, there = rank(level), rank(str(test.value))
            return {">": here > there, ">=": here >= there, "<": here < there, "<=": here <= there}[test.operator]
        case _:
            return False


def _occurred_at(test: Test, parameter: Parameter) -> sql.Composable:
    """A time is a bound of the id too: that is what rules out whole partitions."""
    return _AND.join(_time_bounds(test, parameter))


def _time_bounds(test: Test, parameter: Parameter) -> Iterator[sql.Composable]:
    match test:
        case Is():
            bounds: Mapping[str, Value] = {">=": test.value, "<=": test.value}
        case Between():
            bounds = {">=": test.low, "<=": test.high}
        case Compare():
            bounds = {test.operator: test.value}
        case _:
            bounds = {}
    for operator, instant in bounds.items():
        assert isinstance(instant, datetime)  # noqa: S101 - of this kind
        yield _COMPARED[operator].format(sql.Identifier("occurred_at"), parameter(instant))
        # Ids know milliseconds only: all of the one that an upper bound is in, and `occurred_at` decides.
        least = least_id_at(to_unix_us(instant if operator.startswith(">") else instant + _MILLISECOND))
        yield _COMPARED[">=" if operator.startswith(">") else "<"].format(sql.Identifier("event_id"), parameter(least))


_SPECIAL: Final[Mapping[str, Callable[[Test, Parameter], sql.Composable]]] = {
    "event_type": _event_type,
    "step": _step,
    "level": _level,
    "occurred_at": _occurred_at,
}
