"""Every metric is what the events say, at every moment: late events, duplicates, and sinks and aggregators killed."""

from __future__ import annotations

import os
import random
import time
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, Final, get_args
from uuid import UUID

import psycopg
import pytest
from chaos.redelivery import Redelivery
from fixtures import plain_figures as plain
from fixtures.apis import Api
from fixtures.mortals import STREAM, Kind, Mortals, mortals
from fixtures.plain_figures import Ended
from fixtures.samples import make_entry, make_step, now_us
from fixtures.told_requests import COMMANDS, MINUTE_US, MODELS, PSEUDONYMS, SPACES, USERS, some_requests, tell
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from redis import Redis

from telemetry.clock import SystemClock, from_unix_us, to_unix_us
from telemetry.connections import connect
from telemetry.events import Event
from telemetry.pipeline import open_reader
from telemetry.reading import reading
from telemetry.rollups import metrics
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.comparison import compare
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.metrics import METRICS, REQUESTS, Aggregation, Asked
from telemetry.settings import TelemetrySettings
from telemetry.sink import Sink
from telemetry.stream import StreamWriter

#: Seconds for which everything goes wrong; set METRIC_SECONDS=600 for the real thing.
METRIC_SECONDS: Final = float(os.environ.get("METRIC_SECONDS", "4"))
SEED: Final = int(os.environ.get("METRIC_SEED", "23"))
#: Minutes that go by for the producers meanwhile, up to now; of whose events one in ten is late by 1 to 90 more.
SPAN: Final = 150
LATE: Final = (1, 90)
PEOPLE: Final[Mapping[Kind, int]] = {"sink": 3, "aggregator": 2}
#: Requests between two looks.
AT_ONCE: Final = 40
#: So many looks, however long each takes.
LOOKS: Final = 6
TIMEOUT: Final = timedelta(seconds=30)
AGGREGATIONS: Final[tuple[Aggregation, ...]] = get_args(Aggregation)
NAMES: Final = {space: f"space-{space.int}" for space in SPACES if space is not None}
LATEST: Final = datetime.max.replace(tzinfo=UTC)
TYPES: Final = [kind for kinds in REQUESTS.values() for kind in kinds]

#: All there is to know of requests, from events alone.
RAW: Final = """
    select occurred_at, component, operation, user_id, space_id, duration_us, level, outcome, error_category, measures
    from telemetry_events where event_type = any(%s)
"""


def raw(connection: Connection[Any]) -> list[Ended]:
    """Every request that is stored, plainly."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_ended(row) for row in cursor.execute(RAW, (TYPES,))]


def _ended(row: dict[str, Any]) -> Ended:
    category = None
    if row["level"] == "error":
        category = row["error_category"] or ("timeout" if row["outcome"] == "expired" else "internal")
    told = row["measures"] or {}
    return Ended(
        to_unix_us(row["occurred_at"]),
        row["component"],
        row["operation"],
        row["user_id"],
        None if row["space_id"] is None else row["space_id"].bytes,
        row["duration_us"],
        category,
        told.get("context_us"),
        told.get("model_us"),
        told.get("prompt_tokens"),
        told.get("completion_tokens"),
        told.get("cache", "none"),
    )


class Trouble:
    """Producers that tell of requests while everybody who stores and counts them is killed.

    Attributes:
        sent: Ids of all events.
        late: How many of them were late.
    """

    def __init__(self, redis: Redis, people: Mortals, chance: random.Random) -> None:
        self._writer = StreamWriter(redis, STREAM)
        self._people = people
        self._chance = chance
        self._until_us = now_us() // MINUTE_US * MINUTE_US
        self.since_us = self._until_us - SPAN * MINUTE_US
        self.sent: set[bytes] = set()
        self.late = 0

    def tell(self, share: float) -> None:
        """Requests end, of the minute that it is for the producers after this share of all the time."""
        at_us = self.since_us + int(share * (self._until_us - self.since_us)) - MINUTE_US
        events: list[Event] = [make_step(at_us=at_us)]
        for each in some_requests(self._chance, AT_ONCE, 1):
            is_late = self._chance.random() < 0.1
            self.late += is_late
            events += tell([each], at_us - (self._chance.randint(*LATE) * MINUTE_US if is_late else 0))
        self.sent.update(event.event_id for event in events)
        for first in range(0, len(events), 20):
            self._writer.append(make_entry(*events[first : first + 20]))

    def strike(self, kind: Kind) -> None:
        """Somebody is killed, and replaced."""
        victims = [child for child, own in self._people.alive.items() if own == kind]
        self._people.start(self._people.kill(self._chance.choice(victims)))


@dataclass(frozen=True, slots=True)
class Whose:
    """Some of all requests.

    Attributes:
        since: A whole minute.
        until: The end, not included.
        operation: Which the API is not asked for.
    """

    since: datetime
    until: datetime
    component: str | None
    user: str | None = None
    space: UUID | None = None
    operation: str | None = None

    @classmethod
    def any(cls, chance: random.Random, since_us: int) -> Whose:
        """From before everything up to now, or somewhere in between."""
        first_us, end_us = since_us + chance.randint(-120, SPAN) * MINUTE_US, now_us()
        end_us = max(chance.choice([end_us, min(first_us + chance.randint(1, 200) * MINUTE_US, end_us)]), first_us)
        narrowed: dict[str, Any] = chance.choice(
            [
                {},
                {"user": chance.choice(USERS[1:])},
                {"space": chance.choice(SPACES[1:])},
                {"operation": chance.choice([*MODELS, *COMMANDS])},
            ]
        )
        return cls(from_unix_us(first_us), from_unix_us(end_us), chance.choice([None, *REQUESTS]), **narrowed)

    @property
    def asked(self) -> Asked:
        """As roll-ups are asked."""
        components = tuple(REQUESTS) if self.component is None else (self.component,)
        user_id = None if self.user is None else PSEUDONYMS.user(self.user)
        return Asked(self.since, self.until, components, user_id, self.space, self.operation)

    @property
    def query(self) -> dict[str, str]:
        """As the API is asked."""
        space = None if self.space is None else NAMES[self.space]
        given = {"component": self.component, "user": self.user, "space": space}
        return {name: value for name, value in given.items() if value is not None}

    def of(self, everything: Iterable[Ended], since: datetime, until: datetime) -> list[Ended]:
        """Those of a time."""
        first_us, end_us = to_unix_us(since), to_unix_us(until)
        user = None if self.user is None else PSEUDONYMS.user(self.user)
        space = None if self.space is None else self.space.bytes
        return [
            each
            for each in everything
            if first_us <= each.at_us < end_us
            and self.component in {None, each.component}
            and (user is None or each.user == user)
            and (space is None or each.space == space)
            and self.operation in {None, each.operation}
        ]


def assert_buckets(connection: Connection[Any], everything: Sequence[Ended], whose: Whose, name: Aggregation) -> None:
    """Every metric of every bucket is what the requests say that ended in it, all bins included."""
    # What is asked for ends with a whole minute.
    until = from_unix_us(-(-to_unix_us(whose.until) // MINUTE_US) * MINUTE_US)
    found = metrics.buckets(connection, whose.asked, name)
    total = metrics.total(connection, whose.asked)
    ends = [*(bucket.starts_at for bucket in found[1:]), until, until]
    for bucket, ends_at in zip((*found, total), ends if found else [until], strict=True):
        since = max(bucket.starts_at, whose.since)
        of = whose.of(everything, since, ends_at)
        if name != "minute":
            assert bucket.minutes == (ends_at - since) / timedelta(minutes=1)
        expected = plain.metrics(of, bucket.minutes)
        assert {name: metric.point(bucket) for name, metric in METRICS.items()} == expected, (whose, name)
        assert bucket.of("duration").histogram == Histogram.of(each.duration_us for each in of)
    whole = whose.of(everything, whose.since, until)
    assert sum(bucket.of("duration").events for bucket in found) == len(whole)
    assert metrics.count(connection, whose.asked) == len(whole)


def assert_current(answer: dict[str, Any], everything: Sequence[Ended], whose: Whose) -> None:
    """What `/api/metrics/current` says is what the requests say."""
    end = datetime.fromisoformat(answer["end"])

    def of(span: timedelta) -> list[Ended]:
        return whose.of(everything, end - span, end)

    window = end - datetime.fromisoformat(answer["start"])
    within = of(window)
    expected = plain.metrics(within, Fraction(window // timedelta(minutes=1)))
    total, told = expected["total_tokens"]
    assert answer["requests"] == {
        "last_minute": len(of(timedelta(minutes=1))),
        "last_hour": len(of(timedelta(hours=1))),
        "last_day": len(of(timedelta(days=1))),
        "per_minute": expected["request_rate"][0],
        "in_window": len(within),
    }
    assert answer["latency"] == {name: expected[f"{name}_latency"][1] for name in ("total", "context", "llm")}
    assert answer["errors"] == expected["error_rate"][1]
    assert answer["cache"] == expected["cache_hit_rate"][1]
    assert answer["tokens"] == {
        **told,
        "prompt": expected["prompt_tokens"][0],
        "completion": expected["completion_tokens"][0],
        "total": total,
        "by_user": {} if whose.space else by_member(within, lambda each: each.user.hex() if each.user else "none"),
        "by_space": {} if whose.user else by_member(within, space_of),
    }


def space_of(each: Ended) -> str:
    """As answers name it."""
    return str(UUID(bytes=each.space)) if each.space else "none"


def by_member(of: Iterable[Ended], name: Callable[[Ended], str]) -> dict[str, int]:
    """Tokens of each, of those who told of any."""
    found: Counter[str] = Counter()
    for each in of:
        told = [count for count in (each.prompt_tokens, each.completion_tokens) if count is not None]
        if told:
            found[name(each)] += sum(told)
    return dict(found)


def assert_historical(answer: dict[str, Any], everything: Sequence[Ended], whose: Whose) -> None:
    """What `/api/metrics/historical` says of one metric is what the requests say."""
    starts = [datetime.fromisoformat(item["timestamp"]) for item in answer["items"]]
    for item, (starts_at, ends_at) in zip(answer["items"], pairwise([*starts, LATEST]), strict=True):
        of_item = whose.of(everything, max(starts_at, whose.since), min(ends_at, whose.until))
        minutes = asked_minutes(starts_at, answer["aggregation"], whose)
        assert (item["value"], item["metadata"]) == plain.metrics(of_item, minutes)[answer["type"]], whose
    assert starts or whose.since == whose.until


def asked_minutes(starts_at: datetime, aggregation: Aggregation, whose: Whose) -> float:
    """Minutes of the bucket that begins then, UTC, as far as they were asked for; with the last minute as a whole."""
    days = {"day": 1, "week": 7, "month": monthrange(starts_at.year, starts_at.month)[1]}
    whole = {"minute": 1, "hour": 60}.get(aggregation) or days[aggregation] * 1440
    until = from_unix_us(-(-to_unix_us(whose.until) // MINUTE_US) * MINUTE_US)
    ends_at = min(starts_at + whole * timedelta(minutes=1), until)
    return (ends_at - max(starts_at, whose.since)) / timedelta(minutes=1)


@contextmanager
def nothing_new(people: Mortals, pool: ConnectionPool[Any]) -> Iterator[Callable[[], list[Ended] | None]]:
    """Sinks stand still: everything that is stored, unless a commit they had asked for came meanwhile."""

    def look() -> list[Ended]:
        with reading(pool, TIMEOUT) as connection:
            return raw(connection)

    with people.still("sink"):
        before = look()
        yield lambda: before if Counter(look()) == Counter(before) else None


def assert_answers(api: Api, pool: ConnectionPool[Any], people: Mortals, chance: random.Random, since_us: int) -> None:
    """The API says what the events say, of every metric."""
    whose = replace(Whose.any(chance, since_us), operation=None)
    aggregation = chance.choice(AGGREGATIONS)
    given = {**whose.query, "start": whose.since.isoformat(), "end": whose.until.isoformat()}
    with nothing_new(people, pool) as same:
        current = api.get("/api/metrics/current", window="6h", **whose.query)
        told = [api.get("/api/metrics/historical", type=name, aggregation=aggregation, **given) for name in METRICS]
        everything = same()
    assert {answer.status_code for answer in (current, *told)} == {200}
    if everything is None:
        return
    assert_current(current.json, everything, whose)
    for answer in told:
        assert_historical(answer.json, everything, whose)


def settle(database_url: str, redis_url: str, pool: ConnectionPool[Any]) -> None:
    """Store what is left, and make all buckets that are over."""
    settings = TelemetrySettings(stream=STREAM, sink_flush_interval=timedelta(milliseconds=1))
    reader = open_reader(settings, redis_url, clock=SystemClock())
    sink = Sink(
        settings, reader, partial(connect, database_url, name="test"), clock=SystemClock(), claim_idle=timedelta(0)
    )
    while sink.run_once().entries:
        pass
    sink.stop()
    sink.run()  # which closes it
    with psycopg.connect(database_url, autocommit=True) as own:
        assert Aggregator(own, SystemClock(), members_interval=timedelta(0)).run_once(TIMEOUT).is_done


@pytest.mark.timeout(120 + 4 * METRIC_SECONDS)
@pytest.mark.req("A-05", "A-06", "A-08", "S-13")
def test_at_every_moment_every_metric_is_what_the_events_say_whoever_is_late_or_killed(  # noqa: PLR0913 - fixtures
    api: Api,
    autocommit_pool: ConnectionPool[Any],
    connection: Connection[Any],
    redis: Redis,
    redis_url: str,
    database_url: str,
) -> None:
    chance, pool = random.Random(SEED), autocommit_pool
    connection.cursor().executemany("insert into spaces (id, name) values (%s, %s)", list(NAMES.items()))
    looks = 0
    with mortals(database_url, redis_url) as people, Redelivery(redis_url, STREAM, share=0.2, seed=SEED) as again:
        for kind, number in PEOPLE.items():
            for _ in range(number):
                people.start(kind)
        trouble = Trouble(redis, people, chance)
        began = time.monotonic()
        while (share := (time.monotonic() - began) / METRIC_SECONDS) < 1 or looks < LOOKS:
            trouble.tell(min(share, 1))
            trouble.strike("aggregator" if looks % 3 == 0 else "sink")
            with reading(pool, TIMEOUT) as reader:
                everything = raw(reader)
                for _ in range(3):
                    whose = Whose.any(chance, trouble.since_us)
                    assert_buckets(reader, everything, whose, chance.choice(AGGREGATIONS))
            assert_answers(api, pool, people, chance, trouble.since_us)
            looks += 1

    settle(database_url, redis_url, pool)
    rows = connection.execute(
        "select event_id from telemetry_events where event_type like any('{chat.%,command.%,dsl.%}')"
    )
    assert {event_id.bytes for (event_id,) in rows} == trouble.sent
    batches = connection.execute("select sum(events), sum(duplicates) from telemetry_batches").fetchone()
    assert batches is not None
    assert batches[1] > 0
    assert min(trouble.late, again.again, *people.killed.values()) > 0
    with reading(pool, TIMEOUT) as reader:
        everything = raw(reader)
        for aggregation in AGGREGATIONS:
            assert_buckets(reader, everything, Whose.any(chance, trouble.since_us), aggregation)
        first = trouble.since_us // MINUTE_US
        for each in compare(reader, first - 1440, first + SPAN):
            assert each.differences == []
