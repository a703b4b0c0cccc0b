"""Which windows of requests are to be looked at. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Windows end with whole minutes: so do the buckets they are read from, and half of one could not be read again alike.
STEP: Final = timedelta(minutes=1)
#: Windows of one rule that are looked at in one round; of more, the newest.
AT_ONCE: Final = 20


def ends(evaluated_until: datetime | None, horizon: datetime) -> tuple[list[datetime], int]:
    """Ends of the windows to be looked at, in order, and how many older ones are skipped.

    Args:
        evaluated_until: End of the last window that was looked at; without one, only the newest is.
        horizon: Up to when everything has arrived.
    """
    last = horizon - (horizon - _EPOCH) % STEP
    if evaluated_until is None:
        return [last], 0
    count = max((last - evaluated_until) // STEP, 0)
    taken = min(count, AT_ONCE)
    return [last - STEP * number for number in reversed(range(taken))], count - taken
