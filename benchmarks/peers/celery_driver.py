"""Sends tasks to the Celery workers, and looks at the list of what is done.

Run as `python -m benchmarks.peers.celery_driver` with `BENCH_REDIS_URL`; `benchmarks.peers.answering` says how it
is asked.

- `chain`, `task`: chains of 5 tasks, or tasks of 5 functions, a second, from the moment the last one was sent.
- `latency`: milliseconds from sending a chain until its last link is done, seen by another connection; it looks twice
  a millisecond. One at a time, 50 to 150 ms after the last.
"""

from __future__ import annotations

from collections.abc import Callable
from random import uniform
from time import monotonic, perf_counter_ns, sleep

from celery import chain
from redis import Redis

from benchmarks.peers.answering import serve, wait_until
from benchmarks.peers.celery_app import DONE, STEPS, URL, five_steps, one_step

_BODY = "buy milk and bread"
_redis = Redis.from_url(URL)


def send_chain() -> None:
    """Five tasks, one after another."""
    chain(*(one_step.si(_BODY, number) for number in range(1, STEPS + 1))).apply_async()


def send_task() -> None:
    """One task."""
    five_steps.delay(_BODY)


def rate(send: Callable[[], None], count: int) -> float:
    """How many a second are done."""
    _redis.delete(DONE)
    for _ in range(count):
        send()
    begun = monotonic()
    wait_until(lambda: _redis.llen(DONE) >= count, "everything sent is done", 0.1)
    stamps = [float(stamp) for stamp in _redis.lrange(DONE, 0, -1)]
    window = [stamp for stamp in stamps if stamp >= begun]
    if len(window) < count // 4:
        raise RuntimeError("the workers were done before the last one was sent")
    return len(window) / (max(window) - begun)


def latency(count: int) -> list[float]:
    """Milliseconds each."""
    times = []
    for number in range(count + 5):
        _redis.delete(DONE)
        sleep(uniform(0.05, 0.15))
        begun = perf_counter_ns()
        send_chain()
        wait_until(lambda: _redis.llen(DONE), "a chain is done", 0.0005)
        if number >= 5:
            times.append((perf_counter_ns() - begun) / 1e6)
    return times


if __name__ == "__main__":
    rate(send_task, 20)
    serve(
        {
            "chain": lambda count: rate(send_chain, count),
            "task": lambda count: rate(send_task, count),
            "latency": latency,
        }
    )
