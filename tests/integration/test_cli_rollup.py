"""`weir telemetry rollup` and `verify --rollups` as a person types them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from fixtures.apis import Weir
from psycopg import Connection

from telemetry.clock import SystemClock
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import fill
from telemetry.store import prepare_session

pytestmark = pytest.mark.req("A-06", "S-13")

SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])


@pytest.fixture
def stored(connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of two days."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    prepare_session(connection)
    fill(connection, SAMPLES, 2000, timedelta(days=2), SystemClock().now())


@pytest.mark.usefixtures("stored")
def test_roll_ups_are_made_checked_and_made_once_more(offline_weir: Weir, connection: Connection[Any]) -> None:
    made = json.loads(offline_weir("telemetry", "rollup", "--format", "json").out)
    assert made["minutes"] > 0
    assert made["days"] >= 1
    assert made["asked_minutes"] is None

    found = offline_weir("telemetry", "verify", "--rollups", "--last", "3d", "--format", "json")
    rollups = json.loads(found.out)["rollups"]
    assert rollups["differences_count"] == 0
    assert {each["buckets"] for each in rollups["compared"]} >= {"minute by operation", "hour by user", "day by space"}

    wrong = "update telemetry_metrics set total = total + 1 where width = 'minute' and measured > 0"
    assert connection.execute(wrong).rowcount > 0
    told = offline_weir("telemetry", "verify", "--rollups", "--last", "3d")
    assert told.code == 1
    assert "NOT EQUAL to their events" in told.out

    said = offline_weir("telemetry", "rollup", "--from", "2h", "--to", "1h").out
    assert re.fullmatch(r"60 minutes made, and the hours and days that they are in: [0-9,]+ rows\n", said)

    again = json.loads(offline_weir("telemetry", "rollup", "--from", "3d", "--format", "json").out)
    assert again["asked_minutes"] > 2 * 1440
    told = offline_weir("telemetry", "verify", "--rollups", "--last", "3d")
    assert "roll-ups: equal to their events" in told.out


@pytest.mark.usefixtures("stored")
def test_a_time_that_is_none_is_refused(offline_weir: Weir) -> None:
    refused = offline_weir("telemetry", "rollup", "--from", "soonish")

    assert (refused.code, "--start" in refused.err) == (2, True)
