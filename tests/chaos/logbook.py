"""What the processes' logs say of fences, zombies and surprises: names of events, counted; nothing else is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

#: A write that found its fence gone; a worker that found its lease gone; attempts that were handed back.
FENCED, ZOMBIE = "execution_abandoned", "worker_given_up"

#: Levels of lines that somebody should look at.
_LOUD = frozenset({"error", "critical"})
#: What the supervisor says of what was killed.
_EXPECTED = frozenset({"process_ended", "process_not_started", "process_not_ready_in_time"})


def count(logs: Iterable[Path]) -> tuple[Counter[str], Counter[str]]:
    """Lines by event: all of them, and those that are loud and not about what was killed."""
    said: Counter[str] = Counter()
    loud: Counter[str] = Counter()
    for path in logs:
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    found = json.loads(line)
                    event, level = str(found["event"]), str(found.get("level"))
                except (ValueError, KeyError, TypeError):  # cut off by a kill, or of a server
                    continue
                said[event] += 1
                if level in _LOUD and event not in _EXPECTED:
                    loud[event] += 1
    return said, loud
