"""The bell: an idle consumer wakes at once, a full one waits for an acknowledgement, and nothing is polled."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import takewhile
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import pytest
from redis import Redis

from telemetry.clock import SystemClock
from telemetry.connections import open_redis
from telemetry.testing import ManualClock
from workers.broker import MAX_RINGS, BellBroker, BellConsumer, queue_of
from workers.hints import REST, RUN_LANE, Hints, lane_hint

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """A logical database of this test process that no other test uses: nothing of theirs goes on in it.

    They are counted from the last of Redis's sixteen, the usual ones from the first.
    """
    parts = urlsplit(redis_url)
    url = urlunsplit(parts._replace(query=f"db={15 - int(parts.query.removeprefix('db='))}"))
    with open_redis(url) as client:
        client.flushdb()
    return url


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

    assert Hints(broker, SystemClock()).wake("default")

    assert lane.began.acquire(timeout=5)


def test_a_worker_at_its_limit_takes_no_more_until_it_is_done(broker: BellBroker, lane: _Lane) -> None:
    hints = Hints(broker, SystemClock())
    for _ in range(3):
        hints.wake("default")
    assert lane.began.acquire(timeout=5)

    assert broker.depth(queue_of("default")) == 2

    for _ in range(3):
        lane.proceed.release()
    assert lane.began.acquire(timeout=5)
    assert lane.began.acquire(timeout=5)


def test_rings_without_listeners_are_bounded(broker: BellBroker, redis: Redis) -> None:
    hints = Hints(broker, SystemClock())
    for _ in range(MAX_RINGS + 10):
        hints.wake("default")

    assert redis.llen(broker.bell_of(queue_of("default"))) == MAX_RINGS
    assert broker.depth(queue_of("default")) == MAX_RINGS + 10


def count_commands(redis: Redis, lane: _Lane) -> int:
    """How many commands Redis is given in two seconds, in the database of this file."""
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        # Nothing arrives within this time: the wait is the measurement.
        lane.began.acquire(timeout=2)
        redis.echo("over")
        heard = list(takewhile(lambda said: said["command"] != "ECHO over", monitor.listen()))
    ours = str(redis.get_connection_kwargs().get("db", 0))
    return sum(1 for said in heard if str(said["db"]) == ours)


def test_an_idle_worker_asks_redis_a_few_times_a_second_at_most(broker: BellBroker, lane: _Lane, redis: Redis) -> None:
    lane.proceed.release()
    Hints(broker, SystemClock()).wake("default")
    assert lane.began.acquire(timeout=5)
    # Scripts count their inner commands: a look at the queue is about four. Polling at 20 ms would make hundreds.
    assert count_commands(redis, lane) < 100


def test_a_queue_that_is_away_loses_no_submission_and_raises_nothing() -> None:
    broker = BellBroker(NOWHERE, [])

    assert Hints(broker, SystemClock()).wake("default") is False

    broker.close()


def test_a_queue_that_hangs_is_not_asked_again_for_a_while(clock: ManualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        broker = BellBroker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", [])
        hints = Hints(broker, clock)

        asked = []
        for passed in (timedelta(0), timedelta(0), REST, timedelta(0)):
            clock.advance(passed)
            assert hints.wake("default") is False
            asked.append(_was_asked(silent))

        broker.close()
    assert asked == [True, False, True, False]


def _was_asked(silent: socket.socket) -> bool:
    try:
        connection, _ = silent.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


@pytest.mark.req("D-01")
def test_while_redis_is_away_a_worker_looks_for_work_by_itself() -> None:
    broker = BellBroker(NOWHERE, [])
    broker.own_hints[queue_of("default")] = partial(lane_hint, "default")
    lane = _Lane(broker)
    for _ in range(2):
        lane.proceed.release()

    assert lane.began.acquire(timeout=10)
    assert lane.began.acquire(timeout=10)

    lane.worker.stop()
    broker.close()


def test_a_message_that_was_done_while_redis_was_away_is_acknowledged_when_it_is_back(
    broker: BellBroker, redis: Redis
) -> None:
    dramatiq.actor(broker=broker, actor_name=RUN_LANE, queue_name=queue_of("default"))(lambda _lane: None)
    Hints(broker, SystemClock()).wake("default")
    consumer = broker.consume(queue_of("default"), prefetch=2)
    message = next(consumer)
    assert message is not None
    away = BellBroker(NOWHERE, [])
    here, broker.scripts = broker.scripts, away.scripts

    consumer.ack(message)
    assert _unacknowledged(redis) == 1
    broker.scripts = here
    assert next(consumer) is None

    assert _unacknowledged(redis) == 0
    consumer.close()
    away.close()


def test_a_worker_and_the_consumer_may_acknowledge_the_last_message_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = BellBroker(NOWHERE, [])
    consumer = BellConsumer(broker, queue_of("default"), 1, 100)
    told: list[bytes] = []
    monkeypatch.setattr(broker, "do_ack", lambda _queue, message_id: told.append(message_id), raising=False)
    consumer._unacknowledged = _Contested([b"last"])

    with ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(consumer._acknowledge) for _ in range(2)]
        assert [end.result() for end in ends] == [None, None]

    assert told == [b"last"]
    consumer.close()
    broker.close()


class _Contested(deque[bytes]):
    """Whoever asks whether anything is there hears it when the other has asked too."""

    def __init__(self, ids: list[bytes]) -> None:
        super().__init__(ids)
        self._together = threading.Barrier(2)

    def __bool__(self) -> bool:
        found = len(self) > 0
        if found:
            self._together.wait(10)
        return found


def _unacknowledged(redis: Redis) -> int:
    return sum(int(redis.scard(key)) for key in redis.keys("weir:queue:__acks__.*"))
