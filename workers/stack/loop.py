"""The supervisor's one loop: readable pipes, signals and timers, in one thread."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: What asks a supervisor to stop. SIGHUP: its terminal was closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Loop:
    """Waits for whatever happens first.

    Attributes:
        selector: Register a file with a callable, which takes nothing, as its data.
        stop_requests: How many signals asked to stop so far.
        is_interrupted: Whether Ctrl-C was among them.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.stop_requests = 0
        self.is_interrupted = False
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        self.selector.register(self._reading, selectors.EVENT_READ, self._take_signals)

    def turn(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds (None: for ever) for something to happen, and handle it.

        A signal, also that a child ended, is something.
        """
        for key, _events in self.selector.select(timeout):
            key.data()

    @contextmanager
    def noticing_signals(self) -> Iterator[None]:
        """Inside the block, signals interrupt `turn` and nothing else."""
        watched = [signal.SIGCHLD]
        # What was started in the background by a shell without job control ignores SIGINT, and should go on doing so.
        watched += [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, _note) for number in watched}
        wakeup = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Let go of everything; in a forked child, of the child's copies."""
        with suppress(OSError):  # macOS: a child does not have its parent's kqueue in the first place
            self.selector.close()
        self._reading.close()
        self._writing.close()

    def _take_signals(self) -> None:
        noted = self._reading.recv(4096)
        self.stop_requests += sum(number in STOP_SIGNALS for number in noted)
        self.is_interrupted |= signal.SIGINT in noted


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that a handler exists makes Python write the signal's number where the loop sees it."""
