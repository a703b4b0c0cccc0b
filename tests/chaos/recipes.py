"""The commands of the load, and what each must leave behind: ground truth in words that a program can check.

A recipe is a command file and the steps it must have run. An order is one submission of one; its `token` is in all that
it writes, so that every row is known by who wrote it. Tokens of what a command runs are its own with an ending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

#: What declares the table of the load.
WEIR_TOML = """
[tables.rows]
table = "chaos.rows"
readable = ["id", "token", "state"]
writable = ["token", "state"]
"""

#: The table of the load, and a journal of every change to it and to fragments, kept by triggers: what really happened,
#: whatever the ledger says. Nothing is unique here, so that what happens twice is seen.
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
        again: It fails for good and does not end the execution: whoever goes on with it tries it again.
    """

    path: str
    outcome: Literal["succeeded", "failed", "skipped"] = "succeeded"
    fails: int = 0
    effects: tuple[Effect, ...] = ()
    kid: Kid | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A command, and what it must leave behind.

    Attributes:
        text: Its file.
        steps: In the order they run. Those before `on_failure` are what a cancelled one stops in.
        state: How it ends.
        weight: Of it in the load; 0 for what only others run.
        cancelled: Whether the load cancels some.
        dry: Whether it is a dry run: nothing may be changed.
    """

    text: str
    steps: tuple[StepTruth, ...]
    state: Literal["succeeded", "failed"] = "succeeded"
    weight: int = 0
    cancelled: bool = False
    dry: bool = False

    @property
    def slug(self) -> str:
        """The command."""
        return self.text.split("\n", 1)[0].removeprefix("slug: ")

    @property
    def effects(self) -> int:
        """How many changes one makes that runs to its end."""
        return sum(len(step.effects) for step in self.steps)


_TOKEN = "inputs: {token: {type: string, required: true}}"
_NOTE = '{id: note, type: fragment.create, with: {type: chaos, title: "{{ inputs.token }}", state: {status: new}}}'
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
    f"""slug: chaos.six
{_TOKEN}
steps:
  - {{id: begin, type: transform, with: {{template: "{{{{ inputs.token }}}}"}}}}
  - {_NOTE}
  - {{id: row, type: model.create, with: {{table: rows, values: {{token: "{{{{ steps.begin.output }}}}", state: new}}}}}}
  - id: change
    type: database.update
    with: {{table: rows, set: {{state: changed}}, where: [{{column: token, value: "{{{{ inputs.token }}}}"}}]}}
  - {{id: mark, type: fragment.update, with: {{id: "{{{{ steps.note.output.fragment_id }}}}", state: {{status: done}}}}}}
  - {{id: answer, type: respond, with: {{value: "{{{{ steps.row.output.key }}}}"}}}}
""",
    _SIX_STEPS,
    weight=8,
)

DRY = Recipe(SIX.text.replace("chaos.six", "chaos.dry"), _SIX_STEPS, weight=1, dry=True)

LIGHT = Recipe(
    f"""slug: chaos.light
{_TOKEN}
steps:
  - {{id: a, type: transform, with: {{template: "{{{{ inputs.token }}}}"}}}}
  - {{id: b, type: transform, with: {{template: "{{{{ steps.a.output }}}}"}}}}
  - {{id: c, type: chaos.linger, with: {{ms: 250}}}}
  - {{id: d, type: transform, with: {{template: "{{{{ steps.b.output }}}}"}}}}
  - {{id: answer, type: respond, with: {{value: "{{{{ steps.d.output }}}}"}}}}
""",
    tuple(StepTruth(path) for path in ("a", "b", "c", "d", "answer")),
    weight=4,
)

RETRIES = Recipe(
    f"""slug: chaos.retries
{_TOKEN}
steps:
  - {_NOTE}
  - id: try
    type: chaos.flaky
    retry: {{max_attempts: 4, backoff: 100ms, max_backoff: 300ms}}
    with: {{fails: 2}}
  - id: write
    type: chaos.write
    retry: {{max_attempts: 3, backoff: 100ms, max_backoff: 300ms}}
    with: {{fails: 1, token: "{{{{ inputs.token }}}}"}}
  - {{id: answer, type: respond, with: {{value: "{{{{ steps.try.output.tries }}}}"}}}}
""",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("try", fails=2),
        StepTruth("write", fails=1, effects=(_ROW,)),
        StepTruth("answer"),
    ),
    weight=3,
)

AGAIN = Recipe(
    f"""slug: chaos.again
{_TOKEN}
retry: {{max_attempts: 3, backoff: 100ms, max_backoff: 300ms}}
steps:
  - {_NOTE}
  - {{id: try, type: chaos.flaky, with: {{fails: 2}}}}
  - {{id: answer, type: respond, with: {{value: done}}}}
""",
    (StepTruth("note", effects=(_WRITE,)), StepTruth("try", fails=2), StepTruth("answer")),
    weight=2,
)

DOOMED = Recipe(
    f"""slug: chaos.doomed
{_TOKEN}
steps:
  - {_NOTE}
  - id: try
    type: chaos.flaky
    retry: {{max_attempts: 2, backoff: 100ms}}
    with: {{fails: 1000}}
  - {{id: never, type: respond, with: {{value: "it cannot get here"}}}}
on_failure:
  - {{id: sorry, type: fragment.create, with: {{type: chaos, title: "{{{{ inputs.token }}}}/sorry"}}}}
  - {{id: told, type: transform, with: {{template: "sorry"}}}}
""",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("try", "failed", fails=2),
        StepTruth("on_failure:sorry", effects=(Effect("fragment", "created", "/sorry"),)),
        StepTruth("on_failure:told"),
    ),
    state="failed",
    weight=2,
)

_ITEMS = range(4)
_BAD = 1
_BAD_ITEM = (StepTruth(f"each[{_BAD}].check", "failed", fails=1, again=True),)

MAP = Recipe(
    f"""slug: chaos.map
{_TOKEN}
steps:
  - id: each
    type: list.map
    with:
      items: [0, 1, 2, 3]
      as: item
      on_error: continue
      do:
        - {{id: write, type: fragment.create, with: {{type: chaos, title: "{{{{ inputs.token }}}}/{{{{ item }}}}"}}}}
        - {{id: check, type: chaos.flaky, if: "item == {_BAD}", with: {{fails: 1000}}}}
        - {{id: tell, type: transform, with: {{template: "{{{{ item }}}}"}}}}
  - {{id: answer, type: respond, with: {{value: "{{{{ steps.each.output.failed }}}}"}}}}
""",
    tuple(
        step
        for item in _ITEMS
        for step in (
            StepTruth(f"each[{item}].write", effects=(Effect("fragment", "created", f"/{item}"),)),
            *(_BAD_ITEM if item == _BAD else (StepTruth(f"each[{item}].check", "skipped"), StepTruth(f"each[{item}].tell"))),
        )
    )
    + (StepTruth("each"), StepTruth("answer")),
    weight=3,
)

PARENT = Recipe(
    f"""slug: chaos.parent
{_TOKEN}
steps:
  - {{id: begin, type: transform, with: {{template: "{{{{ inputs.token }}}}"}}}}
  - {{id: kid, type: command.run, with: {{command: chaos.six, await: true, inputs: {{token: "{{{{ inputs.token }}}}/kid"}}}}}}
  - {_NOTE}
  - {{id: other, type: command.run, with: {{command: chaos.six, inputs: {{token: "{{{{ inputs.token }}}}/other"}}}}}}
  - {{id: answer, type: respond, with: {{value: "{{{{ steps.kid.output.result }}}}"}}}}
""",
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
    f"""slug: chaos.slow
{_TOKEN}
steps:
  - {_NOTE}
  - {{id: wait, type: chaos.linger, with: {{ms: 400}}}}
  - {{id: mark, type: fragment.update, with: {{id: "{{{{ steps.note.output.fragment_id }}}}", state: {{status: done}}}}}}
  - {{id: more, type: chaos.linger, with: {{ms: 400}}}}
  - {{id: answer, type: respond, with: {{value: done}}}}
""",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("wait"),
        StepTruth("mark", effects=(Effect("fragment", "updated"),)),
        StepTruth("more"),
        StepTruth("answer"),
    ),
    weight=3,
    cancelled=True,
)

FAMILY = Recipe(
    f"""slug: chaos.family
{_TOKEN}
steps:
  - {_NOTE}
  - {{id: kid, type: command.run, with: {{command: chaos.slow, await: true, inputs: {{token: "{{{{ inputs.token }}}}/kid"}}}}}}
  - {{id: answer, type: respond, with: {{value: done}}}}
""",
    (
        StepTruth("note", effects=(_WRITE,)),
        StepTruth("kid", kid=Kid("chaos.slow", "/kid", "child")),
        StepTruth("answer"),
    ),
    weight=2,
    cancelled=True,
)

#: What schedules run; its token says for which due time.
TICK = Recipe(
    f"""slug: chaos.tick
{_TOKEN}
steps:
  - {_NOTE}
  - {{id: answer, type: respond, with: {{value: done}}}}
schedules:
  - id: declared
    EVERY
    misfire: all
    overlap: allow
    inputs: {{token: "{{{{ schedule }}}}@{{{{ due_at | date: '%Y%m%dT%H%M%S' }}}}"}}
""",
    (StepTruth("note", effects=(_WRITE,)), StepTruth("answer")),
)

ALL = (SIX, DRY, LIGHT, RETRIES, AGAIN, DOOMED, MAP, PARENT, SLOW, FAMILY, TICK)
BY_SLUG: Mapping[str, Recipe] = {recipe.slug: recipe for recipe in ALL}

#: Days that nobody looks for.
_MONTHS = 60

#: The inputs of every schedule.
TICK_INPUTS = {"token": "{{ schedule }}@{{ due_at | date: '%Y%m%dT%H%M%S' }}"}



def files(every: str) -> dict[str, str]:
    """Text by file name; the declared schedule is due so often."""
    texts = {f"{recipe.slug}.yaml": recipe.text for recipe in ALL}
    return {name: text.replace("EVERY", f"every: {every}") for name, text in texts.items()}


def never(now: datetime) -> str:
    """An interval, counted from 1970 as all are, that is not due within two months."""
    since = (now.timestamp()) // timedelta(days=1).total_seconds()
    (days, *_) = [days for days in range(365, 0, -1) if days - since % days > _MONTHS]
    return f"{days}d"
