"""The commands of the load, and what each must leave behind: ground truth in words that a program can check.

A recipe is a command of `commands/` and the steps it must have run. An order is one submission of one; its `token` is
in all that it writes, so that every row is known by who wrote it. What a command runs has its token with an ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

#: What declares the table of the load.
WEIR_TOML = """
[tables.rows]
table = "chaos.rows"
readable = ["id", "token", "state"]
writable = ["token", "state"]
"""

#: The table of the load, and a journal of every change to it and to fragments, kept by triggers: what really happened,
#: whatever the ledger says. Nothing is unique here, so that what happens twice is seen. And every moment at which more
#: executions with a concurrency key began than may.
SCHEMA = """
create schema chaos;
create table chaos.rows (
    id bigint generated always as identity primary key,
    token text not null,
    state text not null default 'new'
);
create index rows_by_token on chaos.rows (token);
create table chaos.journal (
    id bigint generated always as identity primary key,
    token text not null,
    entity text not null,
    operation text not null
);
create function chaos.note_row() returns trigger language plpgsql as $$
begin
    insert into chaos.journal (token, entity, operation)
    values (new.token, 'rows', case tg_op when 'INSERT' then 'created' else 'updated' end);
    return null;
end $$;
create function chaos.note_fragment() returns trigger language plpgsql as $$
begin
    insert into chaos.journal (token, entity, operation)
    values (new.title, 'fragment', case tg_op when 'INSERT' then 'created' else 'updated' end);
    return null;
end $$;
create table chaos.crowds (slug text not null, running integer not null, most integer not null);
create function chaos.note_crowd() returns trigger language plpgsql as $$
declare
    running integer;
begin
    select count(*) into running from command_executions
    where slug = new.slug and concurrency_key = new.concurrency_key and state = 'running';
    if running > new.concurrency_max then
        insert into chaos.crowds (slug, running, most) values (new.slug, running, new.concurrency_max);
    end if;
    return null;
end $$;
create trigger note_crowd after update of state on command_executions for each row
    when (new.state = 'running' and new.concurrency_key is not null) execute function chaos.note_crowd();
create trigger note after insert or update on chaos.rows for each row execute function chaos.note_row();
create trigger note after insert or update on fragments for each row execute function chaos.note_fragment();
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """A change that a step makes: `token` is that of its execution with this ending."""

    entity: Literal["fragment", "rows"]
    operation: Literal["created", "updated"]
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Kid:
    """An execution that a step asks for.

    Attributes:
        slug: Of its recipe.
        ending: Of its token.
        link: `child` is waited for, `follows` is not.
    """

    slug: str
    ending: str
    link: Literal["child", "follows"]


@dataclass(frozen=True, slots=True)
class StepTruth:
    """What must become of one path.

    Attributes:
        fails: Tries that fail before; exactly so many, whatever is killed.
        outcome: How the last one ends.
    """

    path: str
    outcome: Literal["succeeded", "failed", "skipped"] = "succeeded"
    fails: int = 0
    effects: tuple[Effect, ...] = ()
    kid: Kid | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A command, and what it must leave behind.

    Attributes:
        slug: Of the command, in `commands/`.
        steps: In the order they run. Those before `on_failure` are what a cancelled one stops in.
        state: How it ends.
        weight: Of it in the load; 0 for what only others run.
        cancelled: Whether the load cancels some: themselves, or what they wait for.
        dry: Whether it is a dry run: nothing may be changed.
    """

    slug: str
    steps: tuple[StepTruth, ...]
    state: Literal["succeeded", "failed"] = "succeeded"
    weight: int = 0
    cancelled: Literal["itself", "kid"] | None = None
    dry: bool = False


_WRITE, _ROW = Effect("fragment", "created"), Effect("rows", "created")

_SIX_STEPS = (
    StepTruth("begin"),
    StepTruth("note", effects=(_WRITE,)),
    StepTruth("row", effects=(_ROW,)),
    StepTruth("change", effects=(Effect("rows", "updated"),)),
    StepTruth("mark", effects=(Effect("fragment", "updated"),)),
    StepTruth("answer"),
)

#: Six steps, four of them in the database.
SIX = Recipe(
    "chaos.six",
    _SIX_STEPS,
    weight=8,
)

DRY = Recipe("chaos.six", _SIX_STEPS, weight=1, dry=True)

LIGHT = Recipe(
    "chaos.light",
    tuple(StepTruth(path) for path in ("a", "b", "c", "d", "answer")),
    weight=4,
)

RETRIES = Recipe(
    "chaos.retries",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("try", fails=2),
        StepTruth("write", fails=1, effects=(_ROW,)),
        StepTruth("answer"),
    ),
    weight=3,
)

AGAIN = Recipe(
    "chaos.again",
    (StepTruth("note", effects=(_WRITE,)), StepTruth("try", fails=2), StepTruth("answer")),
    weight=2,
)

DOOMED = Recipe(
    "chaos.doomed",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("try", "failed", fails=2),
        StepTruth("on_failure:sorry", effects=(Effect("fragment", "created", "/sorry"),)),
        StepTruth("on_failure:told"),
    ),
    state="failed",
    weight=2,
)

#: The item that fails for good.
_BAD = 1


def _item(item: int) -> Iterator[StepTruth]:
    yield StepTruth(f"each[{item}].write", effects=(Effect("fragment", "created", f"/{item}"),))
    if item == _BAD:
        yield StepTruth(f"each[{item}].check", "failed", fails=1)
    else:
        yield StepTruth(f"each[{item}].check", "skipped")
        yield StepTruth(f"each[{item}].tell")


MAP = Recipe(
    "chaos.map",
    (*(step for item in range(4) for step in _item(item)), StepTruth("each"), StepTruth("answer")),
    weight=3,
)

PARENT = Recipe(
    "chaos.parent",
    (
        StepTruth("begin"),
        StepTruth("kid", kid=Kid("chaos.six", "/kid", "child")),
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("other", kid=Kid("chaos.six", "/other", "follows")),
        StepTruth("answer"),
    ),
    weight=3,
)

SLOW = Recipe(
    "chaos.slow",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("wait"),
        StepTruth("mark", effects=(Effect("fragment", "updated"),)),
        StepTruth("more"),
        StepTruth("answer"),
    ),
    weight=3,
    cancelled="itself",
)

FAMILY = Recipe(
    "chaos.family",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("kid", kid=Kid("chaos.slow", "/kid", "child")),
        StepTruth("answer"),
    ),
    weight=2,
    cancelled="itself",
)

#: One whose child is cancelled by itself: it fails of that.
BEREFT = replace(FAMILY, cancelled="kid")

#: No more than two at a time.
NARROW = Recipe(
    "chaos.narrow",
    (StepTruth("note", effects=(_WRITE,)), StepTruth("wait"), StepTruth("answer")),
    weight=2,
)

#: What schedules run; its token says for which due time.
TICK = Recipe(
    "chaos.tick",
    (StepTruth("note", effects=(_WRITE,)), StepTruth("answer")),
)

ALL = (SIX, DRY, LIGHT, RETRIES, AGAIN, DOOMED, MAP, PARENT, SLOW, FAMILY, BEREFT, NARROW, TICK)
BY_SLUG: Mapping[str, Recipe] = {recipe.slug: recipe for recipe in ALL if not recipe.dry}

#: What is declared in its file.
DECLARED_EVERY = "1s"
_COMMANDS = Path(__file__).parent / "commands"

#: Days that nobody looks for.
_MONTHS = 60

#: The inputs of every schedule.
TICK_INPUTS = {"token": "{{ schedule }}@{{ due_at | date: '%Y%m%dT%H%M%S' }}"}


def files(recipes: Iterable[Recipe], every: str = DECLARED_EVERY) -> dict[str, str]:
    """Text by file name; the schedule that one declares is due so often."""
    slugs = {recipe.slug for recipe in recipes}
    texts = {f"{slug}.yaml": (_COMMANDS / f"{slug}.yaml").read_text(encoding="utf-8") for slug in slugs}
    return {name: text.replace(f"every: {DECLARED_EVERY}\n", f"every: {every}\n") for name, text in texts.items()}


def never(now: datetime) -> str:
    """An interval, counted from 1970 as all are, that is not due within two months."""
    since = (now.timestamp()) // timedelta(days=1).total_seconds()
    (days, *_) = [days for days in range(365, 0, -1) if days - since % days > _MONTHS]
    return f"{days}d"
