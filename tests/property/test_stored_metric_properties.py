"""The twelve properties of metrics on the real store: events in Postgres, buckets made of them, and what both say.

Each example has a time of its own, earlier than that of the example before: so its minutes are over when they are made,
and hours that belong to others are not. Now and then buckets are read, else events, and the answer is the same. In one
file, for they share one database and its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
import pytest
from fixtures import plain_figures as plain
from fixtures.alerting import Alerting
from fixtures.canaries import Secrets
from fixtures.databases import empty_redis, fresh_database
from fixtures.installations import awaited
from fixtures.plain_figures import Ended
from fixtures.running import Servers
from fixtures.samples import now_us
from fixtures.secret_requests import AROUND, ENDINGS, tell_secrets
from fixtures.told_requests import MINUTE_US, MODELS, PSEUDONYMS, Told, collect_quickly, ended, tell, told_requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.alerts.store import remove_rule
from telemetry.clock import SystemClock, from_unix_us
from telemetry.collector import Collector
from telemetry.connections import connect, open_pool
from telemetry.events import Event
from telemetry.ids import least_id_at
from telemetry.partitions import make_days
from telemetry.pipeline import open_recorder, open_sink
from telemetry.reading import reading
from telemetry.rollups import metrics
from telemetry.rollups.aggregator import SETTLING, Aggregator
from telemetry.rollups.metrics import METRICS, REQUESTS, Aggregation, Asked, Bucket
from telemetry.rows import RowEncoder
from telemetry.settings import TelemetrySettings
from telemetry.store import append_batch, insert_new_events
from telemetry.testing import ManualClock
from workers.testing import RememberingRecorder

pytestmark = pytest.mark.req("A-10")

SOME: Final = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DAY_US: Final = 86_400_000_000
MINUTES: Final = 10
REQUESTS_OF_A_WHILE: Final = told_requests(MINUTES, most=12)
ENCODE: Final = RowEncoder().encode
WINDOW: Final = timedelta(seconds=30)
#: What of the example's time is over when buckets are made: hours are those by user and by space, too.
Made = Literal["nothing", "minutes", "hours", "days"]
AFTERWARDS: Final[Mapping[Made, timedelta]] = {
    "minutes": timedelta(0),
    "hours": timedelta(hours=1),
    "days": timedelta(days=2),
}
#: Whether buckets are there.
MADE: Final = st.sampled_from(["nothing", "nothing", "minutes"])


class Stored:
    """A database of this module, and a time for each example.

    Attributes:
        pool: In autocommit mode.
        since_us: When the time of the example begins.
    """

    def __init__(self, pool: ConnectionPool[Any], own: Connection[Any]) -> None:
        self.pool = pool
        self._own = own
        self._clock = ManualClock()
        self._aggregator = Aggregator(own, self._clock, members_interval=timedelta(0))
        self.since_us = self._days_us = now_us() // DAY_US * DAY_US

    def begin(self, minutes: int) -> int:
        """Another example, with so many minutes for itself; when they begin."""
        self.since_us = (self.since_us - minutes * MINUTE_US) // (minutes * MINUTE_US) * (minutes * MINUTE_US)
        self._until_us = self.since_us + minutes * MINUTE_US
        while self._days_us > self.since_us - DAY_US:  # what ended then may have begun the day before
            self._days_us -= DAY_US
            make_days(self._own, [from_unix_us(self._days_us)])
        return self.since_us

    def store(self, events: Sequence[Event], made: Made = "nothing") -> None:
        """As a sink does; and make what is over by then."""
        with self._own.transaction():
            stored = insert_new_events(self._own, map(ENCODE, events))
            minutes = sorted({event.occurred_at_us // MINUTE_US for event in events})
            append_batch(self._own, events=stored, duplicates=len(events) - stored, minutes=minutes)
        if made != "nothing":
            self._clock.set(from_unix_us(self._until_us) + SETTLING + AFTERWARDS[made])
            assert self._aggregator.run_once().is_done

    def asked(self, **changes: Any) -> Asked:  # noqa: ANN401 - of `Asked`
        """The requests of the example."""
        return Asked(from_unix_us(self.since_us), from_unix_us(self._until_us), **changes)

    def bounds(self) -> dict[str, object]:
        """Of the example, for a statement."""
        until_us = self._until_us
        return {
            "since": from_unix_us(self.since_us),
            "until": from_unix_us(until_us),
            "first_id": least_id_at(self.since_us),
            "end_id": least_id_at(until_us),
        }

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        """One view."""
        with reading(self.pool, WINDOW) as connection:
            yield connection


@pytest.fixture(scope="module")
def database(servers: Servers, admin: psycopg.Connection) -> Iterator[str]:
    yield from fresh_database(servers, admin)


@pytest.fixture(scope="module")
def stored(database: str) -> Iterator[Stored]:
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(database, name="weir test", max_size=2, autocommit=True))
        own = stack.enter_context(connect(database, name="weir test", autocommit=True))
        yield Stored(pool, own)


def assert_plain(bucket: Bucket, of: Sequence[Ended], minutes: float, *names: str) -> None:
    """These metrics of a bucket are what the requests say."""
    expected = plain.metrics(of, minutes)
    for name in names or METRICS:
        assert METRICS[name].point(bucket) == expected[name], name


def kept(stored: Stored, requests: Sequence[Told], made: Made, *names: str) -> Bucket:
    """All requests together, when they are stored: these metrics are what they say."""
    since_us = stored.begin(MINUTES)
    stored.store(tell(requests, since_us), made)
    with stored.reading() as connection:
        bucket = metrics.total(connection, stored.asked())
    assert_plain(bucket, ended(requests, since_us), MINUTES, *names)
    return bucket


@SOME
@given(
    requests=REQUESTS_OF_A_WHILE,
    again=st.integers(0, 1 << 20),
    made=MADE,
    components=st.sampled_from([tuple(REQUESTS), *((name,) for name in REQUESTS)]),
)
def test_property_1_request_counting_accuracy(
    stored: Stored, requests: list[Told], again: int, made: Made, components: tuple[str, ...]
) -> None:
    """Property 1: Request counting accuracy. What ends is counted once, however often it comes."""
    since_us = stored.begin(MINUTES)
    events = tell(requests, since_us)
    stored.store(events)
    stored.store([event for number, event in enumerate(events) if again >> number % 20 & 1], made)
    asked = stored.asked(components=components)
    of = [each for each in ended(requests, since_us) if each.component in components]
    with stored.reading() as connection:
        assert metrics.count(connection, asked) == len(of)
        assert_plain(metrics.total(connection, asked), of, MINUTES, "request_rate")


@SOME
@given(
    requests=told_requests(120, most=12),
    aggregation=st.sampled_from(["minute", "hour", "day", "week", "month"]),
    made=st.sampled_from(["nothing", "minutes", "hours", "hours", "days"]),
    cut=st.integers(0, 60),
)
def test_property_2_time_window_aggregation(
    stored: Stored, requests: list[Told], aggregation: Aggregation, made: Made, cut: int
) -> None:
    """Property 2: Time window aggregation. Each bucket, and each window, has what ended in it."""
    since_us = stored.begin(120)
    stored.store(tell(requests, since_us), made)
    asked = stored.asked()
    asked = Asked(asked.since + cut * timedelta(minutes=1), asked.until)
    within = [each for each in ended(requests, since_us) if from_unix_us(each.at_us) >= asked.since]
    with stored.reading() as connection:
        found = metrics.buckets(connection, asked, aggregation)
    ends = [*(bucket.starts_at for bucket in found[1:]), asked.until]
    for bucket, ends_at in zip(found, ends, strict=True):
        of = [each for each in within if bucket.starts_at <= from_unix_us(each.at_us) < ends_at]
        minutes = (ends_at - max(bucket.starts_at, asked.since)) / timedelta(minutes=1)
        assert_plain(bucket, of, minutes, "request_rate", "total_latency")
    assert sum(bucket.of("duration").events for bucket in found) == len(within)


@SOME
@given(
    requests=told_requests(60, most=12),
    whose=st.sampled_from(["user", "space"]),
    made=st.sampled_from(["nothing", "hours"]),
)
def test_property_3_dimensional_aggregation_consistency(
    stored: Stored, requests: list[Told], whose: Literal["user", "space"], made: Made
) -> None:
    """Property 3: Dimensional aggregation consistency. What users, or spaces, have is together what there is."""
    since_us = stored.begin(60)
    stored.store(tell(requests, since_us), made)
    of_all = ended(requests, since_us)
    with stored.reading() as connection:
        told = metrics.tokens_by(connection, stored.asked(), whose)
        assert sum(told.values()) == metrics.tokens_of(metrics.total(connection, stored.asked()).measures)["total"]
        for number, member in enumerate({getattr(each, whose) for each in of_all} - {None}):
            own = [each for each in of_all if getattr(each, whose) == member]
            name = member.hex() if whose == "user" else str(UUID(bytes=member))
            assert told.get(name, 0) == sum((each.prompt_tokens or 0) + (each.completion_tokens or 0) for each in own)
            if number == 0:
                only = {"user_id": member} if whose == "user" else {"space_id": UUID(bytes=member)}
                assert_plain(metrics.total(connection, stored.asked(**only)), own, 60)


@SOME
@given(requests=REQUESTS_OF_A_WHILE, made=MADE)
def test_property_4_latency_measurement_completeness(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 4: Latency measurement completeness. Gathering context and asking the model are parts of the whole."""
    bucket = kept(stored, requests, made, "total_latency", "context_latency", "llm_latency")
    assert bucket.of("context").total + bucket.of("model").total <= bucket.of("duration").total


@SOME
@given(requests=told_requests(MINUTES, most=40), made=MADE)
def test_property_5_statistical_calculation_accuracy(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 5: Statistical calculation accuracy. Average, least, greatest are exact, percentiles within 1.1 %."""
    kept(stored, requests, made, "total_latency")


@SOME
@given(requests=REQUESTS_OF_A_WHILE, made=MADE)
def test_property_6_token_sum_consistency(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 6: Token sum consistency. All tokens are those of prompts and those of completions."""
    told = metrics.tokens_of(
        kept(stored, requests, made, "prompt_tokens", "completion_tokens", "total_tokens").measures
    )
    assert told["total"] == told["prompt"] + told["completion"]


@SOME
@given(requests=REQUESTS_OF_A_WHILE, made=MADE)
def test_property_7_error_rate_calculation(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 7: Error rate calculation. It is errors / requests * 100; of no requests there is none."""
    value, _ = METRICS["error_rate"].point(kept(stored, requests, made))
    wrong = sum(each.category is not None for each in ended(requests, stored.since_us))
    assert value == (plain.Near(100 * wrong / len(requests), within=0.00005) if requests else None)


@SOME
@given(requests=REQUESTS_OF_A_WHILE, made=MADE)
def test_property_8_error_categorization_completeness(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 8: Error categorization completeness. Each error is of one of the six categories."""
    told = metrics.errors_of(kept(stored, requests, made, "error_rate").of("duration"))
    assert sum(told["count_by_type"].values()) == told["errors"]


@SOME
@given(requests=REQUESTS_OF_A_WHILE, made=MADE)
def test_property_9_cache_hit_rate_calculation(stored: Stored, requests: list[Told], made: Made) -> None:
    """Property 9: Cache hit rate calculation. It is hits / (hits + misses) * 100; who did not look is in neither."""
    told = metrics.cache_of(kept(stored, requests, made, "cache_hit_rate").of("cache_hit"))
    assert told["hits"] + told["misses"] == sum(each.cache != "none" for each in ended(requests, stored.since_us))


#: Of metrics that a rule may be about: a value of each that is near what requests of a minute have.
THRESHOLDS: Final = st.sampled_from(
    [
        ("request_rate", 1.0),
        ("request_rate", 2.0),
        ("error_rate", 0.0),
        ("error_rate", 50.0),
        ("total_latency", 1.0),
        ("total_latency", 5000.0),
        ("total_tokens", 0.0),
        ("total_tokens", 1000.0),
    ]
)


@pytest.fixture(scope="module")
def alerting(stored: Stored) -> Alerting:
    """Rules about the same requests."""
    return Alerting(stored.pool, ManualClock())


@SOME
@given(
    requests=told_requests(3, most=8),
    measured=THRESHOLDS,
    violations=st.integers(1, 3),
    number=st.integers(0, 1 << 60),
    made=MADE,
)
def test_property_10_alert_threshold_triggering(  # noqa: PLR0913 - what is drawn
    stored: Stored,
    alerting: Alerting,
    requests: list[Told],
    measured: tuple[str, float],
    violations: int,
    number: int,
    made: Made,
) -> None:
    """Property 10: Alert threshold triggering. When so many minutes in a row are above it, and at no other time."""
    metric, threshold = measured
    since_us = stored.begin(5) + 2 * MINUTE_US
    stored.store(tell(requests, since_us), made)
    of_all = ended(requests, since_us)
    alerting.hold_back(None)
    alerting.clock.set(from_unix_us(since_us))
    name = f"rule-{number:x}-{since_us // MINUTE_US}"
    alerting.add(name, metric=metric, threshold=threshold, violations=violations)
    outcomes = [alerting.evaluator.run_once()]
    alerting.clock.advance(timedelta(minutes=3))
    outcomes.append(alerting.evaluator.run_once())
    with stored.pool.connection() as connection:
        remove_rule(connection, name, alerting.clock.now())

    windows = [
        plain.metrics([each for each in of_all if first <= each.at_us < first + MINUTE_US], 1)[metric][0]
        for first in range(since_us - MINUTE_US, since_us + 3 * MINUTE_US, MINUTE_US)
    ]
    assert [alert.value for outcome in outcomes for alert in outcome.fired] == fires(windows, threshold, violations)[0]
    assert sum(len(outcome.resolved) for outcome in outcomes) == fires(windows, threshold, violations)[1]


def fires(windows: Sequence[plain.Near | float | None], threshold: float, violations: int) -> tuple[list[Any], int]:
    """What a rule fires with, one window after another; and how often it ends."""
    fired: list[Any] = []
    row, resolved = 0, 0
    for value in windows:
        if value is None:
            continue
        row = row + 1 if float(value) > threshold else 0
        if row >= violations and len(fired) == resolved:
            fired.append(value)
        elif not row and len(fired) > resolved:
            resolved += 1
    return fired, resolved


# The threads of recorder and sink draw lots while Hypothesis does, which thinks that its own strategies did.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
def test_property_11_metric_collection_timing(stored: Stored, database: str, servers: Servers) -> None:
    """Property 11: Metric collection timing. Less than 10 ms each, while a sink stores them; and every one arrives."""
    redis_url, clock, chosen = empty_redis(servers), SystemClock(), TelemetrySettings(stream="test:telemetry")
    recorder = open_recorder(chosen, name="test", database_url=database, redis_url=redis_url, clock=clock)
    collector = Collector(recorder, clock, PSEUDONYMS, MODELS)
    known: set[UUID] = set()

    @SOME
    @given(requests=told_requests(1, most=12))
    def collect(requests: list[Told]) -> None:
        known.update(collect_quickly(collector, requests))

    types = ["chat.request.started", *REQUESTS["chat"]]
    asked = "select count(*) from telemetry_events where event_type = any(%s) and correlation_id = any(%s)"
    sink = open_sink(chosen, database_url=database, redis_url=redis_url, clock=clock)
    sink.start()
    try:
        collect()
        assert recorder.flush()
        with stored.pool.connection() as connection:
            awaited(lambda: connection.execute(asked, (types, list(known))).fetchone() == (2 * len(known),))
    finally:
        recorder.close()
        assert sink.stop()
    assert not recorder.stats().dropped


@SOME
@given(around=AROUND, error=ENDINGS, seed=st.integers(0, 1 << 32), number=st.integers(0, 1 << 60), made=MADE)
def test_property_12_privacy_preservation(  # noqa: PLR0913 - what is drawn
    stored: Stored,
    alerting: Alerting,
    around: tuple[str, str],
    error: int | None,
    seed: int,
    number: int,
    made: Made,
) -> None:
    """Property 12: Privacy preservation. No words are in an event, a bucket, an alert or an answer."""
    since_us = stored.begin(MINUTES)
    secrets, recorder = Secrets(seed), RememberingRecorder()
    tell_secrets(Collector(recorder, ManualClock(from_unix_us(since_us)), PSEUDONYMS, MODELS), secrets, around, error)
    stored.store(recorder.events, made)
    alerting.hold_back(None)
    alerting.clock.set(from_unix_us(since_us + MINUTE_US))
    name = f"rule-{number:x}-{since_us // MINUTE_US}"
    alerting.add(name, metric="request_rate", threshold=0)
    (fired,) = alerting.evaluator.run_once().fired
    with stored.reading() as connection:
        found = metrics.buckets(connection, stored.asked(), "minute")
        answers: list[object] = [metrics.points(metric, found) for metric in METRICS.values()]
        answers.append(metrics.tokens_by(connection, stored.asked(), "user"))
        rows = connection.execute(ROWS, {**stored.bounds(), "rule": name})
        answers += [row for (row,) in rows]
    with stored.pool.connection() as connection:
        remove_rule(connection, name, alerting.clock.now())

    assert len(answers) >= len(METRICS) + 5
    assert secrets.found_in("\n".join(map(repr, [*answers, fired])).encode()) == []


#: All that is stored of an example.
ROWS: Final = """
    select e::text from telemetry_events as e where event_id >= %(first_id)s and event_id < %(end_id)s
    union all
    select m::text from telemetry_metrics as m where starts_at >= %(since)s and starts_at < %(until)s
    union all
    select a::text from telemetry_alerts as a where rule = %(rule)s
    union all
    select d::text from telemetry_alert_deliveries as d where %(rule)s = any(rules)
"""
