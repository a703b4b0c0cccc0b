"""Which fragments a step means: the parameters that its types share."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field, JsonValue, field_validator

from dsl.fragment_selection import Filter
from dsl.records import NAME
from dsl.step import ExecutionInfo, StepParams
from telemetry.settings import parse_duration

_TIME = "A date or time (ISO 8601; UTC unless it says otherwise), or a duration before now such as `24h` or `7d`."


class FragmentFilterParams(StepParams):
    """Parameters that choose fragments; what is absent, null or empty does not filter."""

    type: str | None = Field(default=None, pattern=f"^{NAME.pattern}$", description="Their type.")
    tags: list[str] = Field(default_factory=list, description="They have all of these tags.")
    without_tags: list[str] = Field(default_factory=list, description="They have none of these tags.")
    state: dict[str, JsonValue] = Field(
        default_factory=dict, description="Their state holds these keys with these values."
    )
    since: str | None = Field(default=None, description=f"Created then or later. {_TIME}")
    until: str | None = Field(default=None, description=f"Created before. {_TIME}")
    space: str | None = Field(
        default=None, pattern=f"^{NAME.pattern}$", description="Their space; by default the execution's."
    )

    @field_validator("since", "until")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            instant(text, datetime(2000, 1, 1, tzinfo=UTC))
        return text

    def filter(self, execution: ExecutionInfo, *, text: str | None = None) -> Filter:
        """What they choose for an execution; `text` must be in title or content."""
        return Filter(
            space=self.space or execution.space,
            type=self.type,
            tags=self.tags,
            without_tags=self.without_tags,
            text=text,
            state=self.state,
            since=None if self.since is None else instant(self.since, execution.now),
            until=None if self.until is None else instant(self.until, execution.now),
        )


def instant(text: str, now: datetime) -> datetime:
    """The moment a text means: a duration before `now`, or a date or time of ISO 8601, in UTC without an offset.

    Raises:
        ValueError: It is neither.
    """
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("a time such as 2026-01-31T12:00, or an age such as 7d") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time between the years 1 and 9999, in UTC too") from None
