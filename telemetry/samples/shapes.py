"""What samples are made of: commands with their steps, errors, routes, rhythm. Every slug begins with `sample.`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from telemetry.events import Category, ErrorFacts, Rule
from telemetry.samples.chance import STEADY, WILD

#: What each slug of a sample begins with: nobody's command does.
PREFIX: Final = "sample."
#: People, spaces and schedules that there are.
USERS, SPACES, SCHEDULES = 12, 4, 5

#: How often a step fails, and how often while there is an incident with its kind of step.
USUAL_FAILURES, FAILURES_OF_AN_INCIDENT = 0.006, 0.6


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a sample command.

    Attributes:
        id: As declared.
        type: Registered name of its type.
        median_us: How long it takes, half of the times.
        wild: Whether that varies a lot.
        changes: What it does to a fragment.
        measure: A number it reports, and how large that may be.
        words: Enums it reports.
        skipped: How often its condition is false.
        items: For `list.map`, how many at most: as many runs of its step.
    """

    id: str
    type: str
    median_us: int
    wild: bool = False
    changes: Literal["created", "updated", "deleted"] | None = None
    measure: tuple[str, int] | None = None
    words: tuple[tuple[str, str], ...] = ()
    skipped: float = 0.0
    items: int = 0

    @property
    def spread(self) -> Sequence[float]:
        """How its durations vary."""
        return WILD if self.wild else STEADY


@dataclass(frozen=True, slots=True)
class Command:
    """A sample command.

    Attributes:
        slug: Begins with `PREFIX`.
        steps: In their order.
        weight: How often it is run, beside the others.
        attempts: How often it is tried, at most.
    """

    slug: str
    steps: tuple[Step, ...]
    weight: int = 1
    attempts: int = 3

    @property
    def definition_hash(self) -> bytes:
        """16 bytes."""
        return sha256(self.slug.encode()).digest()[:16]


_NOTIFY: Final = Step("tell", "notify", 900, words=(("channel", "inbox"), ("message_level", "info")), skipped=0.7)
_FIND: Final = Step("find", "fragment.query", 2500, measure=("rows", 50))
_WRITE: Final = Step("write", "ai.generate", 2_200_000, wild=True)
_RESPOND: Final = Step("answer", "respond", 40)

#: What people run.
ASKED: Final = (
    Command("sample.todo.add", (Step("create", "fragment.create", 1800, changes="created"), _NOTIFY), weight=30),
    Command(
        "sample.note.add",
        (Step("text", "transform", 120), Step("create", "fragment.create", 1900, changes="created"), _RESPOND),
        weight=22,
    ),
    Command(
        "sample.search", (Step("find", "search.query", 6000, wild=True, measure=("rows", 20)), _RESPOND), weight=14
    ),
    Command(
        "sample.inbox.triage",
        (
            _FIND,
            Step("triage", "list.map", 3000, items=12),
            Step("done", "database.update", 2600, measure=("rows", 12)),
        ),
        weight=5,
    ),
    Command(
        "sample.web.clip",
        (
            Step("check", "validate", 60),
            Step("fetch", "tool.call", 450_000, wild=True),
            Step("save", "fragment.create", 2100, changes="created"),
        ),
        weight=9,
    ),
    Command("sample.calendar.sync", (Step("fetch", "tool.call", 800_000, wild=True), _FIND, _RESPOND), weight=6),
    Command(
        "sample.summarize",
        (_FIND, _WRITE, Step("save", "fragment.update", 1700, changes="updated", measure=("fields", 3))),
        weight=6,
    ),
)
#: What is due by itself.
SCHEDULED: Final = (
    Command("sample.digest.daily", (_FIND, _WRITE, _NOTIFY), weight=3),
    Command(
        "sample.clean.up",
        (_FIND, Step("drop", "fragment.delete", 2400, changes="deleted", measure=("rows", 9))),
        weight=2,
    ),
)
#: What answers in a conversation.
CHAT: Final = Command(
    "sample.chat.reply",
    (
        Step("context", "fragment.query", 3000, measure=("rows", 30)),
        Step("reply", "ai.generate", 1_400_000, wild=True),
        Step("keep", "fragment.create", 1800, changes="created"),
        _RESPOND,
    ),
)
#: Language models that answer, and how often.
MODELS: Final = (("sample-small", 70), ("sample-large", 30))
#: The step that a `list.map` runs for each item.
ITEM: Final = Step("note", "transform", 90)


def _error(name: str, category: Category, place: str) -> ErrorFacts:
    return ErrorFacts(name, category, sha256(f"{name} {place}".encode()).digest()[:8])


#: What a step of a type fails with; the first the most often.
ERRORS: Final = {
    "tool.call": (_error("ToolUnreachable", "network", "tool"), _error("ToolTimedOut", "timeout", "tool")),
    "ai.generate": (
        _error("RateLimited", "rate_limit", "model"),
        _error("ModelUnavailable", "server", "model"),
        _error("ModelTimedOut", "timeout", "model"),
    ),
    "validate": (_error("StepFailed", "validation", "validate"),),
    "search.query": (_error("QueryCanceled", "timeout", "search"),),
    "database.update": (_error("LockNotAvailable", "timeout", "update"),),
}
#: What any other fails with.
OTHER_ERRORS: Final = (_error("StepFailed", "internal", "step"), _error("TemplateError", "validation", "template"))
#: Kinds of steps that an incident may be about, beside everything at once.
INCIDENTS: Final = ("tool.call", "ai.generate", "search.query", "database.update", "")

SUBMIT_ROUTE: Final = "/api/commands/<slug>/executions"
#: What else is asked for: method, route, median, statuses with their weights.
READS: Final[tuple[tuple[Literal["GET"], str, int, tuple[tuple[int, int], ...]], ...]] = (
    ("GET", "/api/executions", 4200, ((200, 97), (400, 3))),
    ("GET", "/api/executions/<execution_id>", 2100, ((200, 94), (404, 6))),
    ("GET", "/api/fragments", 5200, ((200, 98), (422, 2))),
    ("GET", "/api/commands", 2600, ((200, 100),)),
    ("GET", "/api/schedules", 2400, ((200, 100),)),
)
#: Fields of inputs that do not validate.
FAULTY_FIELDS: Final[tuple[tuple[str, Rule], ...]] = (
    ("inputs.tags[0]", "type"),
    ("inputs.tags[3]", "max_length"),
    ("inputs.<unknown>", "unknown"),
)

#: How busy each hour of a day is, UTC, from midnight; and each day of the week, from Monday.
HOURS: Final = (2, 1, 1, 1, 1, 2, 5, 12, 24, 34, 38, 36, 28, 32, 38, 36, 30, 22, 16, 12, 10, 8, 5, 3)
WEEKDAYS: Final = (1.0, 1.05, 1.1, 1.0, 0.85, 0.3, 0.25)
