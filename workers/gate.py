"""Many executions at once in a process, or one alone: what may have killed its worker is not run beside others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets many in, or one who is alone. Whoever waits to be alone is let in before those who come after."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting_alone = 0
        self._is_alone = False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits to be alone, so that nobody inside should begin anything more."""
        return self._waiting_alone > 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside, with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not self._waiting_alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._waiting_alone:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one inside; the caller is inside already, and is again afterwards."""
        with self._changed:
            self._waiting_alone += 1
            self._inside -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_alone and not self._inside)
            self._waiting_alone -= 1
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._inside += 1
                self._changed.notify_all()
