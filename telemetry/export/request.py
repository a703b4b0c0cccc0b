"""What is exported, and how: fixed when an export begins, and kept with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from telemetry.event_types import types_of
from telemetry.filters.parsing import parse
from telemetry.filters.printing import show
from telemetry.query import EventFilters
from telemetry.rollups.parts import Dimension, Width
from telemetry.rollups.records import Wanted, dimension_of

FormName = Literal["jsonl", "json", "csv"]
SplitBy = Literal["component", "event_type", "day"]
#: Records beside events.
Beside = Literal["metrics", "health", "performance"]

FORMS: Final[tuple[str, ...]] = get_args(FormName)
WIDTHS: Final[tuple[str, ...]] = get_args(Width)
DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)
SPLITS: Final[tuple[str, ...]] = get_args(SplitBy)

#: What is said to who asks for Parquet.
NO_PARQUET: Final = (
    "Parquet is not written here; make it of JSON lines, for instance with DuckDB:"
    " duckdb -c \"copy (select * from 'events.jsonl.gz') to 'events.parquet' (format parquet)\""
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is exported, and how.

    Attributes:
        form: Of the files.
        filter: Of events, as text in its canonical form; users and spaces as events have them, times fixed.
        since: Of records beside events, most of which know no other filter: from this instant on.
        until: Before this instant.
        is_compressed: Whether files are gzip.
        split_by: What events get files of their own for; without, they are one file.
        beside: Records that are written too, each kind to a file of its own.
        metrics_width: Of the buckets of metrics.
        metrics_by: What they tell apart; unless given, whatever the filter is of: a user, a space, or neither.
    """

    form: FormName = "jsonl"
    filter: str = ""
    since: datetime | None = None
    until: datetime | None = None
    is_compressed: bool = False
    split_by: SplitBy | None = None
    beside: tuple[Beside, ...] = ()
    metrics_width: Width = "hour"
    metrics_by: Dimension | None = None

    @property
    def suffix(self) -> str:
        """How names of files end: `.jsonl.gz`."""
        return f".{self.form}{'.gz' * self.is_compressed}"

    def events(self) -> EventFilters:
        """Which events.

        Raises:
            FilterInvalid: The filter is not one.
        """
        return EventFilters(more=parse(self.filter))

    def buckets(self) -> Wanted:
        """Which buckets: of the component, the types of events, the user or the space that events are filtered by.

        Raises:
            MetricsCrossed: Of a user and a space, or told apart by something else than that.
        """
        whole = parse(self.filter)
        asked = {name: whole.only(name) for name in ("component", "event_type", "user_id", "space_id")}
        by = dimension_of(self.metrics_by, user=asked["user_id"] is not None, space=asked["space_id"] is not None)
        only = {name: [value] for name, value in asked.items() if value is not None}
        if "event_type" in only:
            only["event_type"] = list(types_of(str(asked["event_type"])))
        return Wanted(self.since, self.until, self.metrics_width, by, only)

    def public(self) -> dict[str, Any]:
        """As JSON has it; `request_of` reads it again."""
        times = {name: instant and instant.isoformat() for name, instant in self._times().items()}
        return {**asdict(self), **times, "beside": list(self.beside)}

    def _times(self) -> dict[str, datetime | None]:
        return {"since": self.since, "until": self.until}


def request_for(filters: EventFilters, **how: Any) -> ExportRequest:  # noqa: ANN401 - fields of ExportRequest
    """The request for the events of these filters, as text that means the same.

    Raises:
        FilterInvalid: A value is none that its field can have.
        MetricsCrossed: Metrics are asked for that are not kept.
    """
    text = show(filters.whole())
    parse(text)
    request = ExportRequest(filter=text, since=filters.since, until=filters.until, **how)
    if "metrics" in request.beside:
        request.buckets()
    return request


def request_of(body: dict[str, Any]) -> ExportRequest:
    """The request that `public` showed."""
    times = {name: body[name] and datetime.fromisoformat(body[name]) for name in ("since", "until")}
    return ExportRequest(**{**body, **times, "beside": tuple(body["beside"])})
