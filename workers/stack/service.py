"""What the supervisor runs by forking itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One of Weir's own processes.

    Attributes:
        name: As it is shown: `api`, `worker`, `sink`, `scheduler`, `maintenance`.
        run: Called in the forked child; returns, or raises, after SIGTERM. Ending before that counts as dying.
        is_ready: Whether it does its work; asked a few times a second while it starts, so it must not wait. None: it
            is taken to do it once it has lived for half a second.
    """

    name: str
    run: Callable[[], None]
    is_ready: Callable[[], bool] | None = None
