"""One notification where one is due, none where none is: what becomes of rules as time goes by, on a real database.

One scenario after another, on the same clock and with the same few helpers.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fixtures.alerting import MINUTE, Alerting
from fixtures.stacks import eventually
from psycopg import sql

from telemetry.alerts import ledger, store
from telemetry.connections import connect
from telemetry.settings import RetentionSettings
from workers.services.cleaner import Cleaner

pytestmark = pytest.mark.req("A-07", "S-01", "S-13")

SLOW, FAST = 8000, 20
AGED = {
    "telemetry_alerts": ("fired_at", "resolved_at"),
    "telemetry_alert_deliveries": ("created_at",),
    "telemetry_alert_silences": ("starts_at", "ends_at", "created_at"),
}


def silence(alerting: Alerting, duration: timedelta) -> None:
    now = alerting.clock.now()
    made = store.make_silence(rule="slow", severity=None, starts_at=None, ends_at=now + duration, by=None, now=now)
    with alerting.pool.connection() as connection:
        store.add_silence(connection, made)


def age(alerting: Alerting, by: timedelta) -> None:
    """All that there is of alerts is older."""
    with alerting.pool.connection() as connection:
        for table, columns in AGED.items():
            shifted = sql.SQL(", ").join(sql.SQL("{0} = {0} - %(by)s").format(sql.Identifier(name)) for name in columns)
            connection.execute(sql.SQL("update {} set {}").format(sql.Identifier(table), shifted), {"by": by})


def test_it_fires_once_and_says_what_was_measured(alerting: Alerting) -> None:
    alerting.add()
    alerting.minute(FAST)
    fired_at = alerting.clock.now() + MINUTE
    for _ in range(5):
        alerting.minute(SLOW, SLOW)

    [alert] = alerting.alerts
    assert (alert.rule, alert.metric, alert.value, alert.threshold) == ("slow", "total_latency", 8000, 5000)
    assert alert.message == "slow: total_latency average is 8000 ms over 1m (> 5000)"
    assert (alert.state, alert.fired_at, alert.window_ended_at) == ("firing", fired_at, fired_at)
    assert alerting.told == [("fire", "due", None)]
    assert alerting.recorded == ["AlertFired"]


def test_it_stays_silent_at_its_threshold(alerting: Alerting) -> None:
    alerting.add()
    for _ in range(5):
        alerting.minute(5000)
    assert alerting.state() == "ok"
    assert (alerting.alerts, alerting.told) == ([], [])


def test_it_waits_for_as_many_windows_in_a_row_as_it_is_told_to(alerting: Alerting) -> None:
    alerting.add(violations=3, **{"for": "2m"})
    for latency in (SLOW, SLOW, FAST, SLOW, SLOW):
        alerting.minute(latency)
        assert alerting.alerts == []
    assert alerting.state() == "pending"
    alerting.minute(SLOW)
    assert len(alerting.alerts) == 1


def test_it_resolves_and_says_so_once(alerting: Alerting) -> None:
    alerting.add()
    for latency in (SLOW, FAST, FAST):
        alerting.minute(latency)
    assert alerting.alerts[0].state == "resolved"
    assert alerting.told == [("fire", "due", None), ("resolve", "due", None)]
    assert alerting.recorded == ["AlertFired", "AlertResolved"]


def test_flapping_is_told_of_once_in_half_an_hour(alerting: Alerting) -> None:
    alerting.add()
    for _ in range(10):
        alerting.minute(SLOW)
        alerting.minute(FAST)
    assert len(alerting.alerts) == 10
    assert [kind for kind, status, _ in alerting.told if status == "due"] == ["fire", "resolve"]
    assert alerting.told.count(("fire", "withheld", "duplicate")) == 9

    alerting.clock.advance(30 * MINUTE)
    alerting.minute(SLOW)
    assert alerting.told[-1:] == [("fire", "due", None)]


def test_one_that_lasts_is_told_of_when_it_is_no_duplicate_any_more(alerting: Alerting) -> None:
    alerting.add(no_data="keep")
    for latency in (SLOW, FAST, SLOW):
        alerting.minute(latency)
    assert alerting.told[-1:] == [("fire", "withheld", "duplicate")]
    alerting.clock.advance(28 * MINUTE)
    alerting.minute()
    assert alerting.told[-1:] == [("fire", "due", None)]
    assert len(alerting.told) == 4


@pytest.mark.parametrize(
    ("policy", "state", "fired"), [("keep", "no_data", 0), ("ok", "ok", 0), ("alert", "firing", 1)]
)
def test_no_data_is_what_its_rule_says(alerting: Alerting, policy: str, state: str, fired: int) -> None:
    alerting.add(no_data=policy)
    alerting.minute()
    assert (alerting.state(), len(alerting.alerts)) == (state, fired)


@pytest.mark.parametrize(("policy", "state"), [("keep", "firing"), ("ok", "resolved"), ("alert", "firing")])
def test_no_data_while_it_fires(alerting: Alerting, policy: str, state: str) -> None:
    alerting.add(no_data=policy)
    alerting.minute(SLOW)
    alerting.minute()
    assert alerting.alerts[0].state == state


def test_few_requests_are_no_data(alerting: Alerting) -> None:
    alerting.add("errors", metric="error_rate", threshold=10, least_requests=10)
    alerting.minute(failed=9)
    assert alerting.state("errors") == "no_data"
    alerting.minute(*[FAST] * 9, failed=1)
    assert alerting.state("errors") == "ok"
    alerting.minute(*[FAST] * 8, failed=2)
    assert alerting.state("errors") == "firing"


def test_a_backlog_makes_it_stale_and_is_then_looked_at_window_by_window(alerting: Alerting) -> None:
    alerting.add(violations=2)
    alerting.minute(FAST)
    begun = alerting.clock.now()
    alerting.hold_back(3 * MINUTE)
    for _ in range(6):
        alerting.clock.advance(MINUTE)
        alerting.hold_back(alerting.clock.now() - begun)
        alerting.evaluator.run_once()
    assert alerting.state() == "stale"
    assert alerting.alerts == []

    for number in (1, 2):  # what happened meanwhile arrives late: twice too slow, then well
        alerting.requests(SLOW, at=begun + number * MINUTE)
    for number in (3, 4, 5):
        alerting.requests(FAST, at=begun + number * MINUTE)
    alerting.hold_back(None)
    alerting.evaluator.run_once()
    [alert] = alerting.alerts
    assert (alert.window_ended_at, alert.state) == (begun + 3 * MINUTE, "resolved")
    assert alerting.told == [("fire", "withheld", "ended")]


def test_of_too_many_windows_the_newest_are_looked_at_and_the_rest_is_said(alerting: Alerting) -> None:
    alerting.add()
    alerting.minute(FAST)
    alerting.clock.advance(60 * MINUTE)
    alerting.evaluator.run_once()
    with alerting.pool.connection() as connection:
        assert store.standings(connection)["slow"].skipped_windows == 40


def test_killed_before_the_commit_it_is_all_done_again_and_after_it_nothing_is(
    alerting: Alerting, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerting.add()
    alerting.minute(FAST)
    alerting.requests(SLOW)
    alerting.clock.advance(MINUTE)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    for step in ("open_alert", "put_standing", "note_notified", "list_silences"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(f"workers.alerting.evaluator.store.{step}", die)
            alerting.evaluator.run_once()
        assert (alerting.alerts, alerting.told, alerting.state()) == ([], [], "ok")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(alerting.recorder, "record", die)
        alerting.evaluator.run_once()
    for _ in range(3):  # restarted
        alerting.evaluator.run_once()
    assert len(alerting.alerts) == 1
    assert alerting.told == [("fire", "due", None)]

    alerting.minute(SLOW)
    alerting.minute(FAST)
    assert alerting.told == [("fire", "due", None), ("resolve", "due", None)]


def test_two_evaluators_that_saw_the_same_do_not_count_it_twice(alerting: Alerting) -> None:
    alerting.add(violations=3)
    alerting.add("lag", metric="sink_lag", operator=">=", threshold=0, violations=3)
    alerting.minute(SLOW)
    alerting.requests(SLOW)
    alerting.clock.advance(MINUTE)
    now, one, other = alerting.clock.now(), alerting.evaluator, alerting.evaluator
    looks = [each.look(now) for each in (one, other)]
    for each, seen in zip((one, other), looks, strict=True):
        assert each.settle(seen, now).fired == []
    alerting.minute(SLOW)
    assert {alert.rule for alert in alerting.alerts} == {"lag", "slow"}


def test_a_silence_keeps_it_back_and_it_is_told_of_when_that_ends(alerting: Alerting) -> None:
    alerting.add()
    silence(alerting, 10 * MINUTE)
    for _ in range(9):
        alerting.minute(SLOW)
    assert alerting.told == [("fire", "withheld", "silenced")]
    assert alerting.alerts[0].state == "firing"
    alerting.minute(SLOW)
    alerting.minute(SLOW)
    assert alerting.told == [("fire", "withheld", "silenced"), ("fire", "due", None)]


def test_what_ends_within_a_silence_is_never_told_of(alerting: Alerting) -> None:
    alerting.add()
    silence(alerting, 10 * MINUTE)
    alerting.minute(SLOW)
    alerting.minute(FAST)
    alerting.clock.advance(20 * MINUTE)
    alerting.minute(FAST)
    assert alerting.told == [("fire", "withheld", "silenced")]


def test_a_parent_that_fires_mutes(alerting: Alerting) -> None:
    alerting.add("lag", metric="sink_lag", threshold=10)
    alerting.add(parents=["lag"])
    alerting.hold_back(30 * timedelta(seconds=1))
    alerting.minute(SLOW)
    alerting.minute(SLOW)
    assert {alert.rule for alert in alerting.alerts} == {"lag", "slow"}
    assert sorted(alerting.told) == [("fire", "due", None), ("fire", "withheld", "muted")]
    alerting.hold_back(None)
    alerting.minute(SLOW)
    assert [each.rules for each in alerting.deliveries if each.status == "due"][-1] in (["slow"], ["lag"])
    assert sum(each.rules == ["slow"] and each.status == "due" for each in alerting.deliveries) == 1


def test_what_fires_together_is_told_together(alerting: Alerting) -> None:
    alerting.add("a", channels=["log", "inbox"])
    alerting.add("b", channels=["log"])
    alerting.minute(SLOW)
    told = {each.channel: each.rules for each in alerting.deliveries}
    assert told == {"log": ["a", "b"], "inbox": ["a"]}


def test_it_is_told_of_again_until_somebody_has_it_in_hand(alerting: Alerting) -> None:
    alerting.tell(renotify=10 * MINUTE)
    alerting.add()
    for _ in range(22):
        alerting.minute(SLOW)
    assert [each[0] for each in alerting.told] == ["fire", "renotify", "renotify"]
    with alerting.pool.connection() as connection:
        known = store.acknowledge(connection, alerting.alerts[0].id, b"\1" * 16, alerting.clock.now())
        store.acknowledge(connection, known.id, b"\2" * 16, alerting.clock.now() + MINUTE)
    for _ in range(22):
        alerting.minute(SLOW)
    alerting.minute(FAST)
    assert [each[0] for each in alerting.told] == ["fire", "renotify", "renotify", "resolve"]
    assert alerting.alerts[0].acknowledged_by == b"\1" * 16


def test_past_the_hourly_cap_one_summary_tells_the_rest(alerting: Alerting) -> None:
    alerting.tell(hourly_cap=2, duplicates=timedelta(0))
    alerting.add()
    for _ in range(3):
        alerting.minute(SLOW)
        alerting.minute(FAST)
    statuses = [each[:2] for each in alerting.told if each[0] != "summary"]
    assert statuses == [("fire", "due"), ("resolve", "due"), *[("fire", "capped"), ("resolve", "capped")] * 2]
    [summary] = [each for each in alerting.deliveries if each.kind == "summary"]
    assert summary.due_at == alerting.deliveries[0].created_at + 60 * MINUTE
    assert {each.summary_id for each in alerting.deliveries if each.status == "capped"} == {summary.id}


def test_a_rule_that_is_switched_off_ends_its_alert_and_tells_nobody(alerting: Alerting) -> None:
    alerting.add()
    alerting.minute(SLOW)
    with alerting.pool.connection() as connection, connection.transaction():
        store.switch_rule(connection, "slow", enabled=False, now=alerting.clock.now())
    alerting.minute(SLOW)
    assert alerting.alerts[0].state == "resolved"
    assert alerting.told == [("fire", "due", None)]


def test_a_rule_that_cannot_be_measured_is_in_error_and_others_go_on(
    alerting: Alerting, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerting.add("disk", metric="disk_free", operator="<", threshold=1)
    alerting.add()

    def away(_folder: object) -> None:
        raise OSError

    monkeypatch.setattr("shutil.disk_usage", away)
    alerting.minute(SLOW)
    assert (alerting.state("disk"), alerting.state()) == ("error", "firing")


def test_a_sink_that_is_behind_fires_by_the_wall_clock(alerting: Alerting) -> None:
    alerting.add("lag", metric="sink_lag", threshold=120, **{"for": "1m"})
    alerting.hold_back(4 * MINUTE)
    alerting.minute()
    alerting.minute()
    assert alerting.state("lag") == "firing"


def test_what_is_old_goes_and_what_has_not_ended_stays(alerting: Alerting, database_url: str) -> None:
    alerting.add("ends")
    alerting.add("lasts", operator=">=")
    alerting.minute(SLOW)
    alerting.minute(FAST)
    silence(alerting, MINUTE)
    with alerting.pool.connection() as connection:
        connection.execute("update telemetry_alerts set state = 'firing', resolved_at = null where rule = 'lasts'")
        connection.execute(
            "update telemetry_alert_deliveries set status = 'delivered', due_at = null where kind = 'resolve'"
        )
    cleaner = Cleaner(lambda: connect(database_url, name="test", autocommit=True), RetentionSettings(), alerting.clock)
    age(alerting, timedelta(days=89))
    cleaner.run_once()
    assert len(alerting.alerts) == 2
    age(alerting, timedelta(days=2))
    cleaner.run_once()
    assert [alert.rule for alert in alerting.alerts] == ["lasts"]
    assert [each.status for each in alerting.deliveries] == ["due"]


def test_a_clock_that_was_ahead_and_is_set_right_makes_nobody_blind(alerting: Alerting) -> None:
    """As when a machine starts with a wrong clock: what it noted then is of a time that is still to come."""
    alerting.add()
    alerting.add("disk", metric="disk_free", operator=">=", threshold=0)
    right = alerting.clock.now()
    alerting.tell(hourly_cap=1)
    alerting.clock.advance(timedelta(days=300))
    alerting.minute()
    assert [alert.rule for alert in alerting.alerts] == ["disk"]

    alerting.clock.set(right)
    for _ in range(2):
        alerting.minute(SLOW)

    assert {(alert.rule, alert.state) for alert in alerting.alerts} == {("disk", "firing"), ("slow", "firing")}
    fires = [each for each in alerting.deliveries if each.kind == "fire"]
    assert [(each.rules, each.status) for each in fires] == [(["slow"], "due"), (["disk"], "due")]
    now = alerting.clock.now()
    with alerting.pool.connection() as connection:
        for expected in fires:
            taken = ledger.claim(connection, now, MINUTE)
            assert taken is not None
            assert taken.id == expected.id
            ledger.end(connection, taken, reason=None, latency_us=1, again_at=None, now=now)


def test_who_removes_a_rule_does_not_stop_those_who_evaluate(alerting: Alerting) -> None:
    """They take the same rows in the same order: one waits for the other, and not both."""
    alerting.add()
    alerting.minute(SLOW)
    with (
        alerting.pool.connection() as evaluating,
        alerting.pool.connection() as removing,
        ThreadPoolExecutor(1) as aside,
    ):
        with evaluating.transaction():
            store.list_rules(evaluating, hold=True)

            def remove() -> None:
                with removing.transaction():
                    store.remove_rule(removing, "slow", alerting.clock.now())

            removal = aside.submit(remove)
            eventually(lambda: is_waiting(alerting))
            store.standings(evaluating, hold=True)
            assert [alert.rule for alert in store.open_alerts(evaluating)] == ["slow"]
        removal.result(5)
    assert [alert.state for alert in alerting.alerts] == ["resolved"]


def is_waiting(alerting: Alerting) -> bool:
    with alerting.pool.connection() as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize("hours", [1, 23, 25, 24 * 7])
def test_a_sink_that_is_down_for_days_is_never_taken_for_well(alerting: Alerting, hours: int) -> None:
    down = timedelta(hours=hours)
    alerting.add("sink-lag", metric="sink_lag", threshold=120)
    alerting.hold_back(timedelta(0))
    with alerting.pool.connection() as connection:
        connection.execute("update telemetry_producers set heard_at = now() - %s, waits_since = null", (down,))
        connection.execute("insert into telemetry_stream (looked_at) values (now() - %s)", (down,))
    alerting.minute()
    assert alerting.state("sink-lag") == "firing"

    with alerting.pool.connection() as connection:
        connection.execute("update telemetry_stream set looked_at = now()")
    alerting.minute()
    assert alerting.state("sink-lag") == "resolved"
