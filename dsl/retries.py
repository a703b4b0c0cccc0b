"""Whether something that failed is tried again, and when. Pure.

Exponential backoff with full jitter: each wait is drawn from nothing to a bound that doubles (M. Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), so that many that failed together do not come back together.
"""

from __future__ import annotations

from datetime import timedelta

from dsl.command import Retry
from telemetry.privacy import category


def may_retry(retry: Retry | None, tries: int, error: BaseException) -> bool:
    """Whether there is another try.

    Args:
        retry: What the command or the step says; none is one try.
        tries: How many there were.
        error: What the last one raised.
    """
    return retry is not None and tries < retry.max_attempts and category(error) in retry.on


def delay(retry: Retry, tries: int, error: BaseException, drawn: float) -> timedelta:
    """How long to wait before the next try.

    Args:
        retry: Bounds.
        tries: How many there were, at least one.
        error: What the last one raised; a `retry_after` it has is waited for, whatever the bounds are.
        drawn: From 0 to 1, drawn at random.
    """
    drawn_delay = backoff(retry, tries) * drawn
    asked = getattr(error, "retry_after", None)
    return max(drawn_delay, asked) if isinstance(asked, timedelta) else drawn_delay


def backoff(retry: Retry, tries: int) -> timedelta:
    """The longest wait after so many tries, at least one."""
    doublings = min(tries - 1, retry.max_backoff // retry.backoff)  # beyond these the bound is passed anyhow
    return min(retry.max_backoff, retry.backoff * (1 << min(doublings, 30)))
