"""The keys of a command file: one table that the loader reads by, and the published JSON Schema is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from dsl.command import DEFAULT_LANE, RETRYABLE, Retry
from dsl.records import NAME
from dsl.scheduling.spec import MISFIRES, OVERLAPS, ScheduleSpec
from dsl.templates.grammar import WORDS
from telemetry.settings import format_duration

#: The longest duration a command may name.
MAX_DURATION = timedelta(days=365)

#: A command's name: words of lower-case letters and digits, with one `.`, `_` or `-` between.
SLUG = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
#: Characters of a slug, at most.
MAX_SLUG = 100
#: A lane's name.
LANE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: An id of a step: what `steps.<id>` can name, and what a path of the ledger can hold.
STEP_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")
#: A secret's name.
SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty.

    Attributes:
        max_length: Characters, at most.
        pattern: What the whole of it must match.
        form: The pattern in words.
        reserved: Texts it cannot be.
    """

    max_length: int
    pattern: re.Pattern[str] | None = None
    form: str = ""
    reserved: frozenset[str] = frozenset()

    def allows(self, text: str) -> bool:
        """Whether a text has this form; being reserved is another matter."""
        return 0 < len(text) <= self.max_length and (self.pattern is None or bool(self.pattern.fullmatch(text)))

    @property
    def expected(self) -> str:
        """The form in words."""
        return self.form or f"1 to {self.max_length} characters"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, both bounds included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duration:
    """`30s`: more than nothing, at most `MAX_DURATION`."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`true`, `false`, or an expression without braces."""


@dataclass(frozen=True, slots=True)
class Names:
    """A list of texts, each once."""

    item: Text


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of some of a few words, at least one, each once."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """A list of steps."""

    least: int = 0


@dataclass(frozen=True, slots=True)
class Shapes:
    """A list of mappings of one shape."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Inputs:
    """What `dsl.checking.input_schema` reads."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The `with:` of a step: what its type says (`dsl.checking.parameters`)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A mapping and its keys.

    Attributes:
        name: What it is called in a fault: `a step`.
        keys: All there are.
    """

    name: str
    keys: Mapping[str, Key]


#: What a key may hold.
Value: TypeAlias = (
    Text | Whole | Choice | Choices | Duration | Condition | Names | Steps | Shapes | Inputs | Parameters | Shape
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping.

    Attributes:
        value: What it holds.
        description: For people, in Markdown.
        required: Whether it must be there.
        default: What it is when it is not there, as it would be written.
    """

    value: Value
    description: str
    required: bool = False
    default: Any = None


_STANDARD = Retry()

RETRY = Shape(
    "`retry`",
    {
        "max_attempts": Key(Whole(1, 100), "How often at most, the first time included.", default=1),
        "backoff": Key(
            Duration(),
            "Wait before the second attempt; later ones wait longer.",
            default=format_duration(_STANDARD.backoff),
        ),
        "max_backoff": Key(Duration(), "The longest wait.", default=format_duration(_STANDARD.max_backoff)),
        "on": Key(
            Choices(RETRYABLE),
            "Which categories of errors are worth another attempt; all of these unless given.",
            default=list(_STANDARD.on),
        ),
    },
)

CONCURRENCY = Shape(
    "`concurrency`",
    {
        "key": Key(
            Text(1000),
            "Executions of the command with the same key are counted together; may hold templates. Without it all are.",
        ),
        "max": Key(Whole(1, 10_000), "How many of them may run at once.", required=True),
        "on_full": Key(
            Choice(("queue", "reject")), "`queue` waits for a place, `reject` refuses the submission.", default="queue"
        ),
    },
)

REQUIRES = Shape(
    "`requires`",
    {
        "secrets": Key(
            Names(Text(64, SECRET, "a letter or _, then letters, digits and _; at most 64")),
            "Names of the secrets that templates may use as `secrets.NAME`.",
        )
    },
)

_SCHEDULED = ScheduleSpec()

SCHEDULE = Shape(
    "a schedule",
    {
        "id": Key(
            Text(64, STEP_ID, "a lower-case letter, then letters, digits, _ and -; at most 64"),
            "Its name in this file; everywhere else it is `slug:id`.",
            required=True,
        ),
        "cron": Key(
            Text(200), "Minute, hour, day, month, weekday; with six fields the second first; or an alias: `@daily`."
        ),
        "every": Key(Duration(), "Or an interval of elapsed time, at least `1s`."),
        "anchor": Key(Text(40), "From where intervals are counted; 1970-01-01 UTC unless given."),
        "at": Key(Text(40), "Or the one time: `2026-03-01T09:00` in the zone, or with an offset."),
        "timezone": Key(Text(64), "Zone of the IANA database.", default=_SCHEDULED.timezone),
        "jitter": Key(Duration(), "Each due time is put off by less than this, always by as much; at most `1h`."),
        "misfire": Key(
            Choice(MISFIRES), "What is run of due times that passed with nobody there.", default=_SCHEDULED.misfire
        ),
        "window": Key(Duration(), "How old they may be and still be run.", default=format_duration(_SCHEDULED.window)),
        "overlap": Key(
            Choice(OVERLAPS), "What becomes of a due time while an execution runs.", default=_SCHEDULED.overlap
        ),
        "pause_after": Key(Whole(1, 1000), "Failures in a row that pause the schedule."),
        "inputs": Key(Parameters(), "What the command is given; templates may name `due_at` and `schedule`."),
        "user": Key(Text(200), "On whose behalf.", default=_SCHEDULED.user),
        "space": Key(
            Text(63, NAME, "1 to 63 lower case letters, digits, ., _ or -"),
            "Which space it works in.",
            default=_SCHEDULED.space,
        ),
        "priority": Key(Whole(0, 9), "0 is the most urgent, 9 the least.", default=_SCHEDULED.priority),
    },
)

COMMAND = Shape(
    "a command",
    {
        "slug": Key(
            Text(MAX_SLUG, SLUG, "lower-case letters and digits, with . _ or - between; at most 100"),
            "Its name everywhere.",
            required=True,
        ),
        "name": Key(Text(200), "For people."),
        "version": Key(Text(64), "Your own; quote it if it looks like a number."),
        "description": Key(Text(2000), "What it does."),
        "inputs": Key(
            Inputs(),
            "What a submission gives: names and what each may be, as JSON Schema (`required: true` beside it), or a "
            "whole JSON Schema. Without it anything is accepted.",
        ),
        "requires": Key(REQUIRES, "What must be there before it can run."),
        "timeout": Key(Duration(), "Longest running time of the whole command; waits do not count."),
        "retry": Key(RETRY, "How often it is tried again."),
        "concurrency": Key(CONCURRENCY, "How many executions may run at once."),
        "lane": Key(
            Text(63, LANE, "lower-case letters, digits, . _ and -; at most 63"),
            "Whose workers run it: one of the lanes that WEIR_DSL_LANES declares.",
            default=DEFAULT_LANE,
        ),
        "steps": Key(Steps(1), "What it does, in order, until one fails.", required=True),
        "on_failure": Key(Steps(), "Steps that run once after the final failure."),
        "schedules": Key(Shapes(SCHEDULE), "When it runs by itself."),
    },
)


STEP = Shape(
    "a step",
    {
        "id": Key(
            Text(64, STEP_ID, "a lower-case letter, then letters, digits, _ and -; at most 64", WORDS),
            "Its name in this list of steps.",
            required=True,
        ),
        "type": Key(Text(64), "What it does: one of the step types.", required=True),
        "if": Key(Condition(), "The step is skipped when this is false; its output is null then."),
        "with": Key(Parameters(), "Its parameters; texts in them may be templates."),
        "timeout": Key(Duration(), "Longest running time of one try of this step, and of all steps in it."),
        "retry": Key(RETRY, "How often this step is tried again."),
    },
)
