"""The first thing that runs, with next to no imports of its own: Ctrl-C counts from the first moment."""

import signal
import sys


def run() -> None:
    """Be `weir`."""
    # A shell without job control starts what is in the background with SIGINT ignored: that stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from api.cli.main import main

    sys.exit(main())
