"""Every measure of every series, minute by minute, in memory that is bounded whatever comes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal, NamedTuple
from uuid import UUID

from telemetry.live.buffer import TimeSeriesBuffer
from telemetry.live.requests import Request
from telemetry.rollups.metrics import REQUESTS, Tally

By = Literal["command", "user", "space"]

BYS: Final[tuple[By, ...]] = ("command", "user", "space")
#: The member that stands for all that have no series of their own, and for nobody.
OTHER: Final = ""

#: What stands for all requests beside what tells them apart.
_ALL: Final = "all"
#: What is left of the memory there may be when there was too much, and below what part of it another series is begun:
#: so neither is looked for at every request.
_LEFT, _ROOM = 7 / 8, 3 / 4
#: Beside its arrays, what a buffer costs: its key, and its places in two dictionaries.
_BESIDE_BYTES: Final = 512


class Series(NamedTuple):
    """What is told apart.

    Attributes:
        component: Of `REQUESTS`.
        by: By what; `all` where nothing is.
        member: Which command, user or space.
    """

    component: str
    by: By | Literal["all"] = _ALL
    member: str = OTHER


class MetricsStore:
    """A buffer for each measure of each series.

    Args:
        minutes: That are kept, and as many places in each buffer.
        most_series: Commands, users and spaces that have a series of their own, of each at most; the first that come,
            until nothing of them is left. Others are counted together.
        memory_bytes: That all buffers may take, at any time. With more, the smallest series are counted with the
            others, and then the oldest minutes are forgotten, before anything else is counted.
        told_apart: By what.

    Attributes:
        grouped: Requests that were counted with others because there were too many series.
        first_minute: The oldest that can be told of whole.
        size_bytes: Of all buffers.
    """

    def __init__(self, minutes: int, most_series: int, memory_bytes: int, told_apart: Collection[By] = ()) -> None:
        self.told_apart = frozenset(told_apart)
        self.grouped = 0
        self.first_minute = 0
        self.size_bytes = 0
        self._newest = 0
        self._minutes = minutes
        self._most_series = most_series
        self._memory_bytes = memory_bytes
        self._buffers: dict[Series, dict[str, TimeSeriesBuffer]] = {}
        self._members: dict[By, set[str]] = {by: set() for by in BYS}

    def add(self, request: Request) -> bool:
        """Count a request; false if its minute is not kept any more."""
        minute = request.minute
        if minute < self.first_minute:
            return False
        places = [Series(request.component), *self._series_of(request)]
        is_kept = False
        for series in places:
            for measure, value in request.values.items():
                buffer = self._buffer(series, measure)
                before = buffer.size_bytes
                is_kept = buffer.add(minute, value, request.category) or is_kept
                self.size_bytes += buffer.size_bytes - before
        self._keep_small(minute)
        return is_kept

    def add_stored(self, series: Series, minute: int, measure: str, tally: Tally) -> None:
        """Count what is stored of a minute; a member that has no series and gets none counts with the others."""
        if series.by != _ALL:
            series = Series(series.component, series.by, self._admitted(series.by, series.member))
        if minute >= self.first_minute:
            buffer = self._buffer(series, measure)
            before = buffer.size_bytes
            buffer.merge(minute, tally)
            self.size_bytes += buffer.size_bytes - before
            self._keep_small(minute)

    def get_range(self, series: Iterable[Series], first: int, end: int) -> dict[str, Tally]:
        """What is known of some series together, by measure, from minute `first` to before `end`."""
        found: dict[str, Tally] = {}
        for each in series:
            for measure, buffer in self._buffers.get(each, {}).items():
                tally = buffer.get_range(first, end)
                if tally.events:
                    known = found.get(measure)
                    found[measure] = tally if known is None else _together(known, tally)
        return found

    def members(self, by: By) -> list[str]:
        """Those with a series of their own."""
        return sorted(self._members[by])

    def cleanup(self, now_minute: int) -> None:
        """Forget what is older than is kept, and what takes more memory than there may be."""
        self.first_minute = max(self.first_minute, now_minute - self._minutes + 1)
        self._forget()
        self._keep_small(now_minute)

    def _keep_small(self, minute: int) -> None:
        """Make room, if more than there may be is taken."""
        self._newest = max(self._newest, minute)
        if self.size_bytes <= self._memory_bytes:
            return
        most = self._memory_bytes * _LEFT
        self._fold_smallest(most)
        while self.size_bytes > most and self.first_minute <= self._newest:
            self.first_minute = max(self.first_minute, self._newest - self._minutes) + 1
            self._forget()

    def _series_of(self, request: Request) -> Iterable[Series]:
        for by in self.told_apart:
            member = member_of(request, by)
            if member is not None:
                admitted = self._admitted(by, member)
                self.grouped += admitted != member
                yield Series(request.component, by, admitted)

    def _admitted(self, by: By, member: str) -> str:
        members = self._members[by]
        if member in members or member == OTHER:
            return member
        if len(members) < self._most_series and self.size_bytes < self._memory_bytes * _ROOM:
            members.add(member)
            return member
        return OTHER

    def _buffer(self, series: Series, measure: str) -> TimeSeriesBuffer:
        measures = self._buffers.setdefault(series, {})
        buffer = measures.get(measure)
        if buffer is None:
            buffer = measures[measure] = TimeSeriesBuffer(self._minutes)
            self.size_bytes += buffer.size_bytes + _BESIDE_BYTES
        return buffer

    def _forget(self) -> None:
        for series, measures in list(self._buffers.items()):
            for measure, buffer in list(measures.items()):
                if not buffer.cleanup(self.first_minute):
                    del measures[measure]
            if not measures:
                del self._buffers[series]
        known = {(series.by, series.member) for series in self._buffers}
        for by, members in self._members.items():
            members.intersection_update([member for member in members if (by, member) in known])
        self._recount()

    def _fold_smallest(self, most_bytes: float) -> None:
        """Count the series with the fewest requests with the others, until no more than this is taken."""
        sizes = {
            (by, member): self._requests(by, member) for by, members in self._members.items() for member in members
        }
        for by, member in sorted(sizes, key=lambda key: (sizes[key], key)):
            if self.size_bytes <= most_bytes:
                return
            self._members[by].discard(member)
            self.grouped += sizes[by, member]
            for series in _of_member(by, member):
                for measure, buffer in self._buffers.pop(series, {}).items():
                    other = self._buffer(Series(series.component, by), measure)
                    for minute in buffer.minutes():
                        other.merge(minute, buffer.get_range(minute, minute + 1))
            self._recount()

    def _requests(self, by: By, member: str) -> int:
        buffers = (self._buffers.get(series, {}).get("duration") for series in _of_member(by, member))
        return sum(buffer.events(self.first_minute) for buffer in buffers if buffer is not None)

    def _recount(self) -> None:
        self.size_bytes = sum(
            buffer.size_bytes + _BESIDE_BYTES for measures in self._buffers.values() for buffer in measures.values()
        )


def member_of(request: Request, by: By) -> str | None:
    """Whose a request is; none if it is not told apart by that: a chat request by command."""
    if by == "command":
        return request.operation if request.component == "command" else None
    if by == "user":
        return OTHER if request.user_id is None else request.user_id.hex()
    return OTHER if request.space_id is None else str(UUID(bytes=request.space_id))


def _of_member(by: By, member: str) -> list[Series]:
    return [Series(component, by, member) for component in REQUESTS]


def _together(one: Tally, other: Tally) -> Tally:
    categories: Mapping[str, int] = {
        name: one.categories.get(name, 0) + other.categories.get(name, 0)
        for name in {*one.categories, *other.categories}
    }
    return Tally(
        one.events + other.events,
        one.errors + other.errors,
        one.measured + other.measured,
        one.total + other.total,
        one.histogram.merged(other.histogram),
        dict(categories),
    )
