"""The closed catalogue of what can be filtered by. `docs/reference/filters.md` is generated from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from telemetry.filters import kinds
from telemetry.filters.kinds import Kind


@dataclass(frozen=True, slots=True)
class Field:
    """A field of events.

    Attributes:
        name: In filters, in the canonical form.
        column: Of `telemetry_events`; of `user` and `space` the one that what they name is found in.
        kind: What its values are.
        meaning: For the reference.
        aliases: Other names: of the column, of the JSON, of systems that came before.
    """

    name: str
    column: str
    kind: Kind
    meaning: str
    aliases: tuple[str, ...] = ()


#: In the order of the reference page.
FIELDS: Final = (
    Field("component", "component", kinds.COMPONENT,
          "Part of Weir; [other names](#names-of-components) are understood.", ("components",)),
    Field("event_type", "event_type", kinds.EVENT_TYPE, "Full type, or its first words: `dsl`, `dsl.step`.",
          ("event",)),
    Field("level", "level", kinds.LEVEL, "How loud it is; `level:>=warning` is that and what is louder."),
    Field("correlation_id", "correlation_id", kinds.ID, "The trace.", ("correlation", "trace", "trace_id")),
    Field("execution_id", "execution_id", kinds.ID, "The execution.", ("execution",)),
    Field("parent_id", "parent_id", kinds.ID, "Execution that it is linked to.", ("parent",)),
    Field("command", "command_slug", kinds.TEXT, "Slug of the command.", ("command_slug", "slug")),
    Field("operation", "operation", kinds.TEXT, "What was done: slug, step type, route, tool."),
    Field("user", "user_id", kinds.PLAIN_NAME, "Plain name of a user; what is looked for is its keyed hash."),
    Field("user_id", "user_id", kinds.PSEUDONYM, "Pseudonym of a user, as events have it."),
    Field("space", "space_id", kinds.PLAIN_NAME, "Name of a space; one that is not there has no events."),
    Field("space_id", "space_id", kinds.ID, "Id of a space."),
    Field("outcome", "outcome", kinds.OUTCOME, "How it ended."),
    Field("type", "step_type", kinds.TEXT, "Type of the step.", ("step_type",)),
    Field("step", "step_path", kinds.TEXT, "Id of the step, or the whole path of a run: `triage[17].note`.",
          ("step_id", "step_path")),
    Field("error", "error_type", kinds.TEXT, "Class of the error; `error:*` is any.", ("error_type",)),
    Field("category", "error_category", kinds.CATEGORY, "Kind of the error.", ("error_category",)),
    Field("fingerprint", "error_fingerprint", kinds.FINGERPRINT, "Which error, from which place in the code.",
          ("error_fingerprint",)),
    Field("duration", "duration_us", kinds.DURATION, "How long it took.", ("duration_ms",)),
    Field("attempt", "attempt", kinds.NUMBER, "Which claim of the execution, from 1; 0 before the first."),
    Field("try", "step_try", kinds.NUMBER, "Which try of the step, from 1.", ("step_try",)),
    Field("mutations", "mutations_count", kinds.NUMBER, "Rows created, changed or deleted.", ("mutations_count",)),
    Field("dry_run", "dry_run", kinds.YES_OR_NO, "Whether all of it was rolled back."),
    Field("source", "request_source", kinds.SOURCE, "The door it came through; `weir`: nobody asked for it.",
          ("request_source",)),
    Field("fragment", "fragment_id", kinds.ID, "The fragment it was about.", ("fragment_id",)),
    Field("occurred_at", "occurred_at", kinds.INSTANT, "When what it tells of ended.", ("time", "occurred")),
)  # fmt: skip

#: By name and by every other name.
BY_NAME: Final[Mapping[str, Field]] = MappingProxyType(
    {name: field for field in FIELDS for name in (field.name, *field.aliases)}
)


def nearest_field(name: str) -> str | None:
    """The field's name that looks most like it."""
    near = get_close_matches(name.lower(), BY_NAME, n=1)
    return near[0] if near else None


def clause_of_word(word: str) -> str | None:
    """What a lone word may be meant for: `failed` is an outcome."""
    for field in FIELDS:
        if word.lower() in field.kind.words:
            return f"{field.name}:{word.lower()}"
    return None
