"""How long a conversation with a server may take altogether, and what ends it.

The timeout of a socket is that of one read: who answers a byte at a time is within it for ever.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import timedelta
from threading import Lock, Timer
from time import monotonic
from typing import Final, Self

#: A timeout of 0 would mean that a socket does not wait at all.
_LEAST_S: Final = 0.001


class Limit:
    """Ends a conversation that takes too long: as a context manager, around all of it.

    Args:
        duration: That it may take.
    """

    def __init__(self, duration: timedelta) -> None:
        self._ends_at = monotonic() + duration.total_seconds()
        self._timer = Timer(duration.total_seconds(), self._end)
        self._timer.daemon = True
        self._lock = Lock()
        self._is_over = False
        self._held: socket.socket | None = None

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._held is not None:
                self._held.close()

    @property
    def is_over(self) -> bool:
        """Whether it took too long."""
        return monotonic() >= self._ends_at

    @property
    def left_s(self) -> float:
        """Seconds that are left, always more than 0."""
        return max(_LEAST_S, self._ends_at - monotonic())

    def hold(self, sock: socket.socket) -> None:
        """What the conversation goes through, whatever it is wrapped into afterwards."""
        with self._lock:
            # A copy: what is wrapped for TLS is not the same object any more, and has another one's number.
            self._held = sock.dup()
            if self._is_over:
                self._shut()

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            self._shut()

    def _shut(self) -> None:
        if self._held is not None:
            with suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)
