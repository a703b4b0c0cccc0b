"""The bell: an idle consumer wakes at once, a full one waits for an acknowledgement, and nothing is polled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dramatiq
import pytest
from redis import Redis

from workers.broker import MAX_RINGS, BellBroker, queue_of
from workers.hints import RUN_LANE, Hints


@pytest.fixture
def broker(redis_url: str) -> Iterator[BellBroker]:
    broker = BellBroker(redis_url, [])
    yield broker
    broker.close()


@pytest.fixture
def lane(broker: BellBroker) -> Iterator[_Lane]:
    lane = _Lane(broker)
    yield lane
    lane.worker.stop()


class _Lane:
    """A worker of one thread whose actor waits for the test."""

    def __init__(self, broker: BellBroker) -> None:
        self.began = threading.Semaphore(0)
        self.proceed = threading.Semaphore(0)

        @dramatiq.actor(broker=broker, actor_name=RUN_LANE, queue_name=queue_of("default"))
        def run_lane(lane: str) -> None:
            self.began.release()
            self.proceed.acquire(timeout=10)

        self.worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
        self.worker.queue_prefetch = 1
        self.worker.start()


def test_a_hint_wakes_an_idle_worker(broker: BellBroker, lane: _Lane) -> None:
    lane.proceed.release()

    assert Hints(broker).wake("default")

    assert lane.began.acquire(timeout=5)


def test_a_worker_at_its_limit_takes_no_more_until_it_is_done(broker: BellBroker, lane: _Lane) -> None:
    hints = Hints(broker)
    for _ in range(3):
        hints.wake("default")
    assert lane.began.acquire(timeout=5)

    assert broker.depth(queue_of("default")) == 2

    for _ in range(3):
        lane.proceed.release()
    assert lane.began.acquire(timeout=5)
    assert lane.began.acquire(timeout=5)


def test_rings_without_listeners_are_bounded(broker: BellBroker, redis: Redis) -> None:
    hints = Hints(broker)
    for _ in range(MAX_RINGS + 10):
        hints.wake("default")

    assert redis.llen(broker.bell_of(queue_of("default"))) == MAX_RINGS
    assert broker.depth(queue_of("default")) == MAX_RINGS + 10


def test_an_idle_worker_asks_redis_a_few_times_a_second_at_most(broker: BellBroker, lane: _Lane, redis: Redis) -> None:
    lane.proceed.release()
    Hints(broker).wake("default")
    assert lane.began.acquire(timeout=5)
    before = redis.info("stats")["total_commands_processed"]

    # Nothing arrives within this time: the wait is the measurement.
    lane.began.acquire(timeout=2)

    # Scripts count their inner commands: a look at the queue is about ten. Polling at 20 ms would make over a thousand.
    assert redis.info("stats")["total_commands_processed"] - before < 100


def test_a_queue_that_is_away_loses_no_submission_and_raises_nothing() -> None:
    broker = BellBroker("redis://127.0.0.1:1/0", [])

    assert Hints(broker).wake("default") is False

    broker.close()
