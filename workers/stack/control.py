"""Stopping a stack from outside."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from workers.stack.errors import StackError, StopTimedOut
from workers.stack.lock import find_holder

#: Seconds that a hurried stop may take: servers still end cleanly.
HURRIED_WITHIN = 60.0
_INTERVAL = 0.05


def stop_stack(folder: Path, within: float) -> bool:
    """Stop the stack whose `run` folder this is, and wait until it is gone; False when there was none.

    Args:
        folder: The home's `run`.
        within: Seconds that running work may take to finish; it is interrupted then.

    Raises:
        StopTimedOut: It is still there.
        StackError: It belongs to another user.
    """
    holder = find_holder(folder)
    if holder is None:
        return False
    for patience in (within, HURRIED_WITHIN):
        _ask(holder.pid)
        if _is_gone(folder, holder.pid, patience):
            return True
    raise StopTimedOut(
        f"the supervisor (process {holder.pid}) is still stopping",
        hint=f"Look at {folder.parent / 'logs' / 'weir.log'}; `kill -9 {holder.pid}` ends everything at once.",
        pid=holder.pid,
    )


def _ask(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it went by itself
    except PermissionError as error:
        raise StackError(f"process {pid} belongs to another user", hint="Stop it as that user, or as root.") from error


def _is_gone(folder: Path, pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while (holder := find_holder(folder)) is not None and holder.pid == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(_INTERVAL)
    return True
