"""`fragment.query`: built-in records that fit."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field, JsonValue, field_validator

from dsl import fragments
from dsl.errors import StepFailed
from dsl.fragment_selection import FIELDS, Filter, Order
from dsl.fragment_selection import Field as FieldName
from dsl.records import NAME
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.settings import parse_duration

_TIME = "A date or time (ISO 8601; UTC unless it says otherwise), or a duration before now such as `24h` or `7d`."


class FragmentQueryParams(StepParams):
    """Parameters of `fragment.query`; what is absent, null or empty does not filter."""

    type: str | None = Field(default=None, pattern=f"^{NAME.pattern}$", description="Their type.")
    tags: list[str] = Field(default_factory=list, description="They have all of these tags.")
    without_tags: list[str] = Field(default_factory=list, description="They have none of these tags.")
    text: str | None = Field(
        default=None, max_length=1000, description="In their title or content; upper and lower case alike."
    )
    state: dict[str, JsonValue] = Field(
        default_factory=dict, description="Their state holds these keys with these values."
    )
    since: str | None = Field(default=None, description=f"Created then or later. {_TIME}")
    until: str | None = Field(default=None, description=f"Created before. {_TIME}")
    space: str | None = Field(
        default=None, pattern=f"^{NAME.pattern}$", description="Their space; by default the execution's."
    )
    order: Order = Field(default="newest", description="`newest` or `oldest` by creation, `updated` by last change.")
    limit: int = Field(default=100, ge=1, description="How many at most; bounded by WEIR_DSL_QUERY_MAX_ROWS.")
    fields: list[FieldName] = Field(
        default_factory=lambda: list(FIELDS),
        description="What is wanted of each; `id` always comes. All of them by default, except `excerpt`, the first "
        "500 characters of the content.",
    )

    @field_validator("since", "until")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            _instant(text, datetime(2000, 1, 1, tzinfo=UTC))
        return text


class FragmentQuery(Step):
    """Finds fragments of one space.

    Output:
        {"items": [{"id", ... the fields asked for}], "count": how many}; ids and times as text (RFC 3339, UTC).

    Raises:
        StepFailed: `limit` is more than WEIR_DSL_QUERY_MAX_ROWS.

    Example:
        {id: open, type: fragment.query, with: {type: todo, state: {status: open}, since: 7d, fields: [title]}}
    """

    type = "fragment.query"
    effect = Effect.READS
    Params = FragmentQueryParams

    def run(self, params: FragmentQueryParams, context: StepContext) -> StepResult:
        if params.limit > context.tools.query_max_rows:
            raise StepFailed(
                f"limit is {params.limit}; a query returns at most {context.tools.query_max_rows}",
                hint="Ask for fewer, or raise WEIR_DSL_QUERY_MAX_ROWS.",
            )
        now = context.execution.now
        which = Filter(
            space=params.space or context.execution.space,
            type=params.type,
            tags=params.tags,
            without_tags=params.without_tags,
            text=params.text,
            state=params.state,
            since=None if params.since is None else _instant(params.since, now),
            until=None if params.until is None else _instant(params.until, now),
        )
        items = fragments.query(context.database(), which, order=params.order, limit=params.limit, fields=params.fields)
        return StepResult({"items": items, "count": len(items)}, measures={"rows": len(items)})


def _instant(text: str, now: datetime) -> datetime:
    """The moment a text means. Raises `ValueError` when it is neither a time nor a duration."""
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        instant = datetime.fromisoformat(text.strip())
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time between the years 1 and 9999, in UTC too") from None
