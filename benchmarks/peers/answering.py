"""What a driver does in the peers' environment: one JSON request a line on stdin, one JSON answer a line on stdout.

A request is `{"measure": NAME, "count": N}`; its answer `{"value": ...}`, or `{"error": TEXT}`, after which it goes on.
The first line is written unasked, when the driver is ready. Standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from time import monotonic, sleep

#: Seconds that anything a driver waits for may take.
PATIENCE_S = 90.0


def serve(measurements: Mapping[str, Callable[[int], object]]) -> None:
    """Answer until stdin ends."""
    _say({"value": "ready"})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            value = measurements[request["measure"]](request["count"])
        except Exception as error:  # noqa: BLE001 - whatever it is, the harness is told, and ends
            _say({"error": f"{type(error).__name__}: {error}"})
        else:
            _say({"value": value})


def wait_until(condition: Callable[[], object], what: str, interval_s: float = 0.05) -> None:
    """Ask again and again.

    Raises:
        TimeoutError: It did not come true in time.
    """
    deadline = monotonic() + PATIENCE_S
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE_S:g} s still not: {what}")
        sleep(interval_s)


def _say(answer: Mapping[str, object]) -> None:
    print(json.dumps(answer), flush=True)
