"""Celery's app: a chain of 5 tasks, and one task that calls 5 functions.

Nothing of it is durable as an execution of Weir is: that it was asked for, and where a chain has got to, is known to
Redis alone. `acks_late` runs a task again whose worker was killed. Results are not kept; the last task of each adds a
stamp to a list in Redis, so that its end can be seen.
"""

from __future__ import annotations

import os
import time
from urllib.parse import parse_qs, urlsplit, urlunsplit

from celery import Celery
from redis import Redis

#: As redis-py has it.
URL = os.environ["BENCH_REDIS_URL"]
#: Key of the list of stamps, one for each that is done: seconds of a clock that all processes of a machine share.
DONE = "bench:done"
STEPS = 5


def broker_url(url: str) -> str:
    """The same as Celery has it: of a socket in the file system it wants another form."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    number = parse_qs(parts.query).get("db", ["0"])[0]
    return urlunsplit(("redis+socket", parts.netloc, parts.path, f"virtual_host={number}", ""))


app = Celery("bench", broker=broker_url(URL))
app.conf.update(
    task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=4, worker_hijack_root_logger=False
)
_redis = Redis.from_url(URL)


def light_step(body: str, number: int) -> str:
    """What `transform` does in Weir's light step."""
    return f"{body.upper()} {number}"


def done() -> None:
    """Say that one is done."""
    _redis.rpush(DONE, time.monotonic())


@app.task
def one_step(body: str, number: int) -> None:
    """A link of the chain."""
    light_step(body, number)
    if number == STEPS:
        done()


@app.task
def five_steps(body: str) -> None:
    """All in one task."""
    for number in range(1, STEPS + 1):
        light_step(body, number)
    done()
