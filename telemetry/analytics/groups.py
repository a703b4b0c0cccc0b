"""What can be told apart, what it is made of, and how that is asked of roll-ups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from psycopg import Connection

from telemetry.events import CATALOGUE, event_type
from telemetry.rollups.metrics import REQUESTS, Asked, Tally, question
from telemetry.rollups.parts import MEMBER, Dimension, Width
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer

By = Literal["command", "step", "tool", "model", "user", "space", "component"]


def _ends_of(component: str) -> tuple[str, ...]:
    """Types of events that say how something went: it took so long, and came out so."""
    return tuple(
        event_type(cls)
        for cls in CATALOGUE
        if cls.component == component and "outcome" in cls.__struct_fields__ and _has_duration(cls.__struct_fields__)
    )


def _has_duration(fields: Collection[str]) -> bool:
    return "duration_us" in fields or "total_duration_us" in fields


class Source(NamedTuple):
    """Events that something is told from.

    Attributes:
        component: Of them.
        types: Of them.
        prefix: What the name of their operation begins with.
        stands_in: Left out once there are events of this component, which says the same itself.
    """

    component: str
    types: tuple[str, ...]
    prefix: str = ""
    stands_in: str | None = None


_STEPS: Final = _ends_of("dsl")
_REQUESTS: Final = tuple(Source(component, types) for component, types in REQUESTS.items())

#: What each is told from. Steps that call tools and models stand in for events of these.
SOURCES: Final[Mapping[By, tuple[Source, ...]]] = {
    "command": (Source("command", REQUESTS["command"]),),
    "step": (Source("dsl", _STEPS),),
    "tool": (Source("tool", _ends_of("tool")), Source("dsl", _STEPS, "tool.", "tool")),
    "model": (
        Source("llm", _ends_of("llm")),
        Source("chat", REQUESTS["chat"]),
        Source("dsl", _STEPS, "ai.", "llm"),
    ),
    "user": _REQUESTS,
    "space": _REQUESTS,
    "component": (),
}


@dataclass(frozen=True, slots=True)
class Which:
    """Whose, and which of them.

    Attributes:
        by: What is told apart.
        name: Only the one that is called so: a slug, a type of step, a tool, a model, a component.
        user_id: Only of this user, a pseudonym; of users and components.
        space_id: Only in this space; of spaces and components. Not together with `user_id`.
    """

    by: By
    name: str | None = None
    user_id: bytes | None = None
    space_id: UUID | None = None


class Member(NamedTuple):
    """What a line is of; `name` is a pseudonym in hexadecimal digits, or an id, where it is a user or a space."""

    component: str | None
    name: str | None


@dataclass(slots=True)
class Group:
    """What is known of a member.

    Attributes:
        measures: By name.
        outcomes: How many came out so.
    """

    measures: dict[str, Tally] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def add(self, figure: Figure) -> None:
        """Count what a figure says."""
        measure = figure.key["measure"]
        self.measures.setdefault(measure, Tally()).add(figure)
        outcome = figure.key.get("outcome")
        if measure == "duration" and outcome is not None:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + figure.events

    def of(self, measure: str) -> Tally:
        """What is known of a measure; nothing, if nobody has it."""
        return self.measures.get(measure) or Tally()


class Told(NamedTuple):
    """A figure, and what it is of."""

    member: Member
    figure: Figure


def asked(which: Which, since: datetime, until: datetime, width: Width | None, by: Sequence[str]) -> Question:
    """The question to roll-ups: what of each member, and of when."""
    plain = question(Asked(since, until, user_id=which.user_id, space_id=which.space_id), width, ())
    dimension = _dimension(which, plain.dimension)
    only = {name: values for name, values in plain.only.items() if name != "event_type"}
    types = [name for source in SOURCES[which.by] for name in source.types]
    if types:
        only["event_type"] = types
    if which.name is not None:
        only["component" if which.by == "component" else MEMBER[dimension]] = [which.name]
    return replace(plain, dimension=dimension, only=only, by=(*_keys(which, dimension), *by))


def told(connection: Connection[Any], which: Which, asking: Question) -> list[Told]:
    """What roll-ups answer, without what something else stands in for.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        which: That was asked for.
        asking: `asked` of it.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    found = [Told(member_of(figure, which), figure) for figure in answer(connection, asking).figures]
    wanted = meant({each.member for each in found}, which.by)
    return [each for each in found if each.member in wanted]


def meant(members: Collection[Member], by: By) -> set[Member]:
    """Those of them that are told apart: without what something else stands in for, or what is of another kind."""
    sources = SOURCES[by]
    if not any(source.prefix for source in sources):
        return set(members)
    there = {member.component for member in members}
    return {member for member in members if _is_meant(member, sources, there)}


def grouped(found: Iterable[Told]) -> dict[Member, Group]:
    """What is known of each member."""
    groups: dict[Member, Group] = {}
    for member, figure in found:
        groups.setdefault(member, Group()).add(figure)
    return groups


def member_of(figure: Figure, which: Which) -> Member:
    """What a figure is of."""
    if which.by in ("user", "space"):
        member = figure.key[MEMBER[which.by]]
        return Member(None, member.hex() if isinstance(member, bytes) else None if member is None else str(member))
    component = figure.key["component"]
    return Member(component, component if which.by == "component" else figure.key["operation"])


def _dimension(which: Which, plain: Dimension) -> Dimension:
    if which.by == "user":
        return "user"
    return "space" if which.by == "space" else plain


def _keys(which: Which, dimension: Dimension) -> tuple[str, ...]:
    if which.by in ("user", "space"):
        return (MEMBER[dimension],)
    return ("component",) if which.by == "component" else ("component", "operation")


def _is_meant(member: Member, sources: Iterable[Source], there: Collection[str | None]) -> bool:
    return any(
        source.component == member.component
        and (member.name or "").startswith(source.prefix)
        and source.stands_in not in there
        for source in sources
    )
