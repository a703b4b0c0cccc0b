"""When an execution is to begin, as a submission may say it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from api.problems import RequestInvalid
from dsl.errors import Fault
from telemetry.settings import format_duration

#: How far ahead an execution may be due, and how long it may wait then.
HORIZON = timedelta(days=366)

#: By how much an instant may have passed and still mean "now": clocks differ, and requests take their time.
PASSED = timedelta(minutes=1)


def check_times(body: Mapping[str, Any], now: datetime) -> tuple[datetime | None, timedelta | None]:
    """`run_at` and `expires_in` of a submission.

    Args:
        body: Both are there, or none.
        now: By this machine's clock.

    Raises:
        RequestInvalid: One of them is out of bounds; every fault.
    """
    run_at: datetime | None = body["run_at"]
    expires_in: timedelta | None = body["expires_in"]
    faults = []
    if run_at is not None and run_at < now - PASSED:
        message = f"run_at: that was {rough(now - run_at)} ago, by the server's clock"
        faults.append(time_fault("run_at", message, "an instant to come; left out, it is due at once"))
    elif run_at is not None and run_at > now + HORIZON:
        message = f"run_at: that is {rough(run_at - now)} ahead"
        faults.append(
            time_fault("run_at", message, f"at most {HORIZON.days} days ahead; a schedule runs at times beyond")
        )
    if expires_in is not None and not timedelta(0) < expires_in <= HORIZON:
        message = f"expires_in: {duration_words(expires_in)} is out of bounds"
        faults.append(time_fault("expires_in", message, f"more than nothing, at most {HORIZON.days} days"))
    if faults:
        raise RequestInvalid(faults)
    return run_at, expires_in


def duration_words(duration: timedelta) -> str:
    """A duration as one would have written it."""
    return format_duration(duration) if duration else "0s"


def rough(span: timedelta) -> str:
    """A span in its largest unit, rounded down: `3 h`."""
    seconds = int(span.total_seconds())
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def time_fault(path: str, message: str, expected: str) -> Fault:
    """A time that is out of bounds."""
    return Fault("request.time_range", message, path=path, expected=expected)
