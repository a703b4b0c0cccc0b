"""What live figures take in memory while what is stored is read again: no more than there may be, both together."""

from __future__ import annotations

import random
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from fixtures.alerting import Alerting
from fixtures.samples import make_scope
from psycopg_pool import ConnectionPool

from telemetry.clock import to_unix_us
from telemetry.events import ChatRequestCompleted
from telemetry.ids import mint
from telemetry.live.store import OTHER, MetricsStore, Series
from telemetry.live.stored import fill
from telemetry.reading import reading

pytestmark = pytest.mark.req("A-03", "A-14")

MINUTES, USERS, EVENTS = 20, 40, 1500


def test_reading_again_takes_no_more_than_there_may_be_and_leaves_nobody_out(
    alerting: Alerting, autocommit_pool: ConnectionPool[Any]
) -> None:
    chance, first_us = random.Random(1), to_unix_us(alerting.clock.now())
    users = [number.to_bytes(16) for number in range(USERS)]
    at_us = [first_us + number * 60_000_000 * MINUTES // EVENTS for number in range(EVENTS)]
    alerting.store(
        [
            ChatRequestCompleted(
                mint(at),
                at,
                make_scope(user_id=chance.choice(users)),
                mint(at),
                "small",
                int(chance.lognormvariate(13, 2)),
                None,
                None,
                100,
                50,
                "miss",
            )
            for at in at_us
        ]
    )
    first, limit = first_us // 60_000_000, 1 << 20
    stores = [MetricsStore(MINUTES, USERS, limit // 2, ["user"]) for _ in range(2)]

    def read_into(store: MetricsStore) -> None:
        with reading(autocommit_pool, timedelta(seconds=30)) as connection:
            fill(connection, store, first, first + MINUTES, USERS)

    read_into(stores[0])  # what is made only once is there after this
    tracemalloc.start()
    try:
        read_into(stores[1])
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sum(store.size_bytes for store in stores) <= limit
    assert peak - held < 2 << 20
    kept = [store.get_range([Series("chat")], store.first_minute, first + MINUTES) for store in stores]
    assert kept[0] == kept[1]
    store = stores[1]
    by_user = [Series("chat", "user", member) for member in (*store.members("user"), OTHER)]
    told = store.get_range(by_user, store.first_minute, first + MINUTES)
    assert told["duration"].events == kept[1]["duration"].events > 0
