"""Leaving something alone that failed, and trying it again after a while."""

from __future__ import annotations

from datetime import timedelta

from telemetry.clock import Clock


class Breaker:
    """Opens at the first failure. After the pause it is half open: the next attempt closes it, or opens it again.

    Made for one thread.

    Args:
        clock: Its monotonic side.
        pause: How long it stays open.
    """

    def __init__(self, clock: Clock, pause: timedelta) -> None:
        self._clock = clock
        self._pause_us = pause // timedelta(microseconds=1)
        self._retry_at_us: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the last attempt succeeded, or there was none."""
        return self._retry_at_us is None

    @property
    def retry_at_us(self) -> int | None:
        """When it is, or was, half open, on the monotonic clock; none while it is closed."""
        return self._retry_at_us

    def allows(self) -> bool:
        """Whether an attempt may be made now."""
        return self._retry_at_us is None or self._clock.monotonic_us() >= self._retry_at_us

    def succeeded(self) -> None:
        """Say that an attempt went well."""
        self._retry_at_us = None

    def failed(self) -> None:
        """Say that an attempt went wrong."""
        self._retry_at_us = self._clock.monotonic_us() + self._pause_us

    def hurry(self) -> None:
        """Allow an attempt at once."""
        if self._retry_at_us is not None:
            self._retry_at_us = self._clock.monotonic_us()
