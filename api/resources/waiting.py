"""`Prefer: wait=N` (RFC 7240 § 4.3): an answer that is held back until it says something."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

from flask import request
from werkzeug.http import parse_list_header

from api.resources.context import settings, waiters

T = TypeVar("T")

#: How operations that can wait describe the header.
PREFER_HEADER = {
    "in": "header",
    "name": "Prefer",
    "schema": {"type": "string"},
    "description": "`wait=N`: answer when there is something to say, or after N seconds.",
}

_SECONDS = re.compile(r'"?([0-9]{1,9})"?')

#: Seconds between two looks at a row somebody waits for: a share of the time it took so far, so that an answer is late
#: by that share at most, within these bounds.
_SHARE, _LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.002, 0.1


def wished_wait_s() -> int:
    """Whole seconds the caller would wait, as far as they are granted; 0 if it did not say.

    Of a preference that is given twice the first one counts; one that makes no sense is as none (RFC 7240 § 2).
    """
    for wish in parse_list_header(",".join(request.headers.getlist("Prefer"))):
        name, _, value = wish.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = _SECONDS.fullmatch(value.strip())
            return 0 if seconds is None else min(int(seconds[1]), int(settings().api.max_wait.total_seconds()))
    return 0


def wait_until(look: Callable[[], T], is_enough: Callable[[T], bool], wait_s: int) -> T:
    """What `look` sees as soon as it is enough, or after `wait_s` seconds.

    Half of the server's threads may wait at a time, so that the others answer; who comes when they do is answered at
    once, as if it had not asked to wait.
    """
    seen = look()
    if is_enough(seen) or not wait_s or not waiters().acquire(blocking=False):
        return seen
    try:
        began = time.monotonic()
        while not is_enough(seen) and (waited_s := time.monotonic() - began) < wait_s:
            pause_s = min(max(waited_s * _SHARE, _LEAST_PAUSE_S), _LONGEST_PAUSE_S)
            time.sleep(min(pause_s, wait_s - waited_s))
            seen = look()
        return seen
    finally:
        waiters().release()
