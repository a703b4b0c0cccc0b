"""Ctrl-C. It ends the process at once (`api.cli.entry`); where there is something to tidy up, it is an exception.

Not everywhere, for a `KeyboardInterrupt` in the middle of an import becomes whatever the imported module makes of it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tidy() -> Iterator[None]:
    """Inside, Ctrl-C is a `KeyboardInterrupt`. Import what is needed before."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
