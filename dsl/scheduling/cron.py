"""Cron expressions: which instants they stand for in a zone, changes of clocks included.

Fields are read by cronsim, as Debian's cron reads them; the changes of clocks are dealt with here, the same for five
fields and for six:

- An expression that fixes the time of day (neither minute nor hour begins with `*`) is due once for every reading. A
  reading that never comes, because clocks go forward over it, is due the moment they have; one that comes twice is due
  the first time.
- Any other follows the clock on the wall: due whenever it shows a reading that matches. What it skips is not due, and
  what it shows twice is due twice, so that `*/15 * * * *` stays a quarter of an hour apart.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.zones import change_between, instant_of, instants, is_first_of_two, reading

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MAX_LENGTH = 200

#: What each field may hold, by the name that cronsim gives it; the last five are there without the second.
_FIELD_RANGES = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, or L, LW",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), or SUN to SAT",
}
_FIELD_FORMS = "; also *, lists 1,2, ranges 1-5 and steps */2"
_FIELDS = 5
_SECOND = timedelta(seconds=1)
_EXPECTED = "five fields (minute hour day month weekday), six (second first), or one of " + ", ".join(_ALIASES)


class Cron:
    """An expression in a zone.

    Args:
        text: Five fields, six with the second first, or an alias such as `@daily`; cases do not matter.
        zone: Whose clock it is about.

    Raises:
        TimingInvalid: It is no expression, or one that is never due.
    """

    def __init__(self, text: str, zone: ZoneInfo) -> None:
        self._zone = zone
        self._expression = _ALIASES.get(text.strip().lower(), text)
        if len(text) > _MAX_LENGTH:
            raise TimingInvalid("cron", f"the expression has more than {_MAX_LENGTH} characters", _EXPECTED)
        if text.strip().startswith("@") and text.strip().lower() not in _ALIASES:
            raise TimingInvalid("cron", f"there is no alias {text.strip()}", _EXPECTED, _ALIASES)
        try:
            found = next(CronSim(self._expression, datetime(2000, 1, 1)), None)  # noqa: DTZ001 - a reading
        except (CronSimError, AssertionError, TypeError, ValueError) as error:
            raise _wrong(self._expression, error) from error
        if found is None:
            raise TimingInvalid("cron", "the expression is never due", _EXPECTED)
        minute, hour = self._expression.split()[-_FIELDS:][:2]
        self._is_fixed = not minute.startswith("*") and not hour.startswith("*")

    def __str__(self) -> str:
        """In words."""
        return CronSim(self._expression, datetime(2000, 1, 1)).explain()  # noqa: DTZ001 - a reading

    def next(self, after: datetime) -> datetime | None:
        """The first due time after an instant, in UTC; none within fifty years."""
        return self._next_fixed(after) if self._is_fixed else self._next_shown(after)

    def _next_fixed(self, after: datetime) -> datetime | None:
        # Readings that were mapped to the end of a gap, or come again in a fold, lie behind and are passed over.
        for local in CronSim(self._expression, reading(after, self._zone)):
            due = instant_of(local, self._zone)
            if due > after:
                return due
        return None

    def _next_shown(self, after: datetime) -> datetime | None:
        due = self._next_matching(after, reading(after, self._zone))
        if not is_first_of_two(after.replace(microsecond=0).astimezone(UTC), self._zone):
            return due
        # The clock will go back over what it shows now: from there on it shows again what the iteration has behind it.
        change = _end_of_first_pass(after, self._zone)
        if due is not None and due < change:
            return due
        return self._next_matching(change - _SECOND, reading(change, self._zone) - _SECOND)

    def _next_matching(self, after: datetime, local: datetime) -> datetime | None:
        for matching in CronSim(self._expression, local):
            for due in instants(matching, self._zone):
                if due > after:
                    return due
        return None


def _wrong(expression: str, error: Exception) -> TimingInvalid:
    """What is said of an expression that cannot be read: which field, what it holds, and what it may."""
    values = expression.split()
    name = str(error).removeprefix("Bad ")
    if not _FIELDS <= len(values) <= len(_FIELD_RANGES):
        return TimingInvalid("cron", f"the expression has {len(values)} field(s)", _EXPECTED)
    if name not in _FIELD_RANGES:
        return TimingInvalid("cron", "the expression cannot be read", _EXPECTED)
    fields = dict(zip(list(_FIELD_RANGES)[-len(values) :], values, strict=True))
    message = f"the expression is wrong: the {name.replace('-', ' ')} cannot be `{fields.get(name, '')}`"
    return TimingInvalid("cron", message, f"{_FIELD_RANGES[name]}{_FIELD_FORMS}")


def _end_of_first_pass(instant: datetime, zone: ZoneInfo) -> datetime:
    """When the clock goes back that will show again what it shows at an instant."""
    first, second = instants(reading(instant.replace(microsecond=0), zone), zone)
    return change_between(first, second, zone)
