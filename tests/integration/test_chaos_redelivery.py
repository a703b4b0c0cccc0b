"""The chaos harness has entries delivered twice, and knows when nothing waits any more."""

from __future__ import annotations

from typing import Any

import pytest
from chaos.redelivery import Redelivery, is_settled
from fixtures.installations import awaited
from redis import Redis

from telemetry.stream import GROUP

STREAM = "weir:telemetry"


@pytest.fixture
def redis(redis_url: str) -> Redis:
    client = Redis.from_url(redis_url)
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    return client


def append(redis: Redis, number: int) -> None:
    for each in range(number):
        redis.xadd(STREAM, {b"b": b"%d" % each})


def test_a_share_of_all_entries_comes_again_once_and_what_came_again_does_not(redis: Redis, redis_url: str) -> None:
    with redis, Redelivery(redis_url, STREAM, share=0.2, seed=1) as redelivery:
        append(redis, 500)
        awaited(lambda: redelivery.entries == 500)
        redelivery.stop()

        assert 50 < redelivery.again < 150
        assert redis.xlen(STREAM) == 500 + redelivery.again
        assert redelivery.entries == 500


def test_what_was_acknowledged_is_delivered_again_when_the_group_is_set_back(redis: Redis, redis_url: str) -> None:
    with redis:
        append(redis, 30)
        delivered: Any = redis.xreadgroup(GROUP, "a sink", {STREAM: ">"}, count=30)
        redis.xack(STREAM, GROUP, *(entry_id for entry_id, _ in delivered[0][1]))
        assert is_settled(redis, STREAM)
        with Redelivery(redis_url, STREAM, share=0.0, seed=1) as redelivery:
            append(redis, 10)
            awaited(lambda: redelivery.set_back > 0)
        again: Any = redis.xreadgroup(GROUP, "a sink", {STREAM: ">"}, count=100)

        assert len(again[0][1]) == 10 + redelivery.set_back


def test_a_stream_is_settled_once_everything_is_delivered_and_acknowledged(redis: Redis) -> None:
    with redis:
        assert is_settled(redis, STREAM)
        append(redis, 1)
        assert not is_settled(redis, STREAM)
        delivered: Any = redis.xreadgroup(GROUP, "a sink", {STREAM: ">"})
        assert not is_settled(redis, STREAM)
        redis.xack(STREAM, GROUP, delivered[0][1][0][0])
        assert is_settled(redis, STREAM)
