"""Every rule that is there from the beginning fires when it should, and not before, as it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec
import pytest
from fixtures.alerting import MINUTE, Alerting
from fixtures.samples import make_scope

from dsl.testing import DEFAULT_SPACE_ID
from telemetry.alerts.settings import AlertSettings, own_rules
from telemetry.clock import to_unix_us
from telemetry.events import ChatRequestCompleted
from telemetry.ids import mint, new_id
from telemetry.privacy import Pseudonyms
from workers.alerting.declarer import RuleDeclarer

pytestmark = pytest.mark.req("A-07")

SECOND = timedelta(seconds=1)
SETTINGS = AlertSettings(daily_token_budget=1000, request_capacity=2)
Happens = Callable[[Alerting], None]


def fail(count: int, of: int) -> Happens:
    return lambda alerting: alerting.requests(*[20] * (of - count), failed=count)


def take(latency_ms: float, times: int = 10) -> Happens:
    return lambda alerting: alerting.requests(*[latency_ms] * times)


def spend(tokens: int) -> Happens:
    def happen(alerting: Alerting) -> None:
        at_us = to_unix_us(alerting.clock.now())
        event = ChatRequestCompleted(mint(at_us), at_us, make_scope(), mint(at_us), "small", 1000)
        alerting.store([msgspec.structs.replace(event, prompt_tokens=tokens)])

    return happen


def be_behind(lag: timedelta) -> Happens:
    return lambda alerting: alerting.hold_back(lag)


def have_recorder(rung: str) -> Happens:
    def happen(alerting: Alerting) -> None:
        with alerting.pool.connection() as connection:
            connection.execute(
                "insert into telemetry_producers (epoch, producer, heard_at, rung)"
                " values (gen_random_uuid(), 'worker', now(), %s) on conflict do nothing",
                (rung,),
            )

    return happen


def pass_by(state: str, reason: str) -> Happens:
    """A schedule's due time comes to something other than an execution."""

    def happen(alerting: Alerting) -> None:
        now = alerting.clock.now()
        facts = {"schedule": new_id(to_unix_us(now)), "space": DEFAULT_SPACE_ID, "now": now}
        with alerting.pool.connection() as connection:
            connection.execute(
                "insert into schedules (id, name, slug, every_us, timezone, misfire, window_us, overlap, inputs,"
                " user_name, space_id, failures_since, created_at, updated_at) values (%(schedule)s,"
                " gen_random_uuid()::text, 'a.b', 60000000, 'UTC', 'skip', 0, 'skip', '{}', 'ada', %(space)s, %(now)s,"
                " %(now)s, %(now)s)",
                facts,
            )
            connection.execute(
                "insert into schedule_occurrences (schedule_id, due_at, origin, state, reason, last_due_at, fire_at,"
                " occurred_at, slug, user_name, space_id, correlation_id) values (%(schedule)s, %(now)s, 'calendar',"
                " %(state)s, %(reason)s, %(now)s, %(now)s, %(now)s, 'a.b', 'ada', %(space)s, gen_random_uuid())",
                {**facts, "state": state, "reason": reason},
            )

    return happen


def err(ago: timedelta) -> Happens:
    """An error occurs, and did before."""

    def happen(alerting: Alerting) -> None:
        for at in (alerting.clock.now() - ago, alerting.clock.now()):
            alerting.requests(failed=1, at=at)

    return happen


#: By rule: what it is silent about, and what it fires for, if it happens minute by minute.
CASES: Mapping[str, tuple[Happens, Happens]] = {
    "error-rate": (fail(1, of=10), fail(2, of=10)),
    "latency": (take(5000), take(5001)),
    "daily-tokens": (spend(200), spend(201)),
    "request-rate": (take(20, times=3), take(20, times=4)),
    "sink-lag": (be_behind(100 * SECOND), be_behind(130 * SECOND)),
    "spooling": (have_recorder("normal"), have_recorder("spooling")),
    "missed-schedules": (pass_by("skipped", "overlap"), pass_by("missed", "superseded")),
    "new-errors": (err(60 * MINUTE), err(0 * MINUTE)),
}


def test_there_is_a_case_for_every_rule() -> None:
    assert {rule.name for rule in own_rules(SETTINGS)} == set(CASES)


@pytest.mark.parametrize("rule", CASES)
@pytest.mark.parametrize("fires", [False, True])
def test_it_fires_when_it_should_and_only_then(alerting: Alerting, rule: str, *, fires: bool) -> None:
    RuleDeclarer(alerting.pool, alerting.clock, SETTINGS, Pseudonyms(b"a key")).run_once()
    for _ in range(6):
        CASES[rule][fires](alerting)
        alerting.minute()

    assert [alert.rule for alert in alerting.alerts if alert.rule == rule] == [rule] * fires
    channels = {each.channel for each in alerting.deliveries if each.kind == "fire" and rule in each.rules}
    assert channels == ({"log", "inbox"} if fires else set())
