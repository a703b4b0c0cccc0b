"""Alerts over REST and on the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from fixtures.alerting import Alerting
from fixtures.apis import Api, Weir
from fixtures.stacks import eventually

from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.testing import ManualClock
from workers.alerting.post import posting
from workers.boot import make_evaluator, make_post, make_rule_declarer

pytestmark = pytest.mark.req("A-07", "S-01")

MINUTE = timedelta(minutes=1)
RULE: dict[str, Any] = {
    "name": "slow",
    "metric": "total_latency",
    "threshold": 5000,
    "window": "1m",
    "for": "0s",
    "channels": ["log", "webhook"],
}


def fire(api: Api) -> dict[str, Any]:
    """A rule that fired a moment ago."""
    assert api.post("/api/alerts/rules", RULE).status_code == 201
    now = SystemClock().now()
    alerting = Alerting(api.resources.pool, ManualClock(now.replace(second=0, microsecond=0) - MINUTE))
    alerting.minute(8000)
    found: dict[str, Any] = api.get("/api/alerts").json["items"][0]
    return found


def test_a_rule_is_made_shown_switched_and_removed(api: Api) -> None:
    made = api.post("/api/alerts/rules", {**RULE, "user": "alice"})
    assert made.status_code == 201
    assert made.json["user"] == api.resources.pseudonyms.user("alice").hex()
    assert (made.json["statistic"], made.json["state"], made.json["origin"]) == ("average", "ok", "user")
    assert api.post("/api/alerts/rules", RULE).json["code"] == "alert.rule_exists"
    assert api.post("/api/alerts/rules/slow/disable", {}).json["enabled"] is False
    assert api.get("/api/alerts/rules").json["items"][0]["enabled"] is False
    assert api.open("DELETE", "/api/alerts/rules/slow").json["name"] == "slow"
    assert api.get("/api/alerts/rules/slow").json["code"] == "alert.rule_not_found"


def test_what_cannot_be_meant_is_refused(api: Api) -> None:
    wrong = api.post("/api/alerts/rules", {**RULE, "statistic": "rate"})
    assert (wrong.status_code, wrong.json["code"]) == (422, "alert.rule_invalid")
    assert "statistic" in wrong.json["detail"]
    assert api.post("/api/alerts/rules", {**RULE, "window": "90s"}).status_code == 422
    unknown = api.post("/api/alerts/rules", {**RULE, "metric": "eror_rate", "statistic": "p951"}).json["detail"]
    assert "Did you mean error_rate?" in unknown
    assert "must be one of: average, " in unknown


def test_what_fired_is_shown_with_what_became_of_its_messages(api: Api) -> None:
    alert = fire(api)
    assert (alert["rule"], alert["value"], alert["state"]) == ("slow", 8000, "firing")
    listed = api.get("/api/metrics/alerts")
    assert listed.json == api.get("/api/alerts", state="firing", rule="slow").json
    seen = {"If-None-Match": listed.headers["ETag"]}
    again = api.open("GET", "/api/metrics/alerts", headers=seen)
    assert (again.status_code, again.data, again.headers["Cache-Control"]) == (304, b"", "private, no-cache")
    assert api.get("/api/alerts", state="resolved").json["items"] == []
    assert api.get("/api/alerts", time_range="1h").json["items"] == [alert]
    shown = api.get(f"/api/alerts/{alert['id']}").json
    assert [(told["channel"], told["kind"], told["status"]) for told in shown["deliveries"]] == [
        ("log", "fire", "due"),
        ("webhook", "fire", "due"),
    ]
    known = api.post(f"/api/alerts/{alert['id']}/ack", {"user": "alice"}).json
    assert known["acknowledged_by"] == api.resources.pseudonyms.user("alice").hex()
    assert api.open("GET", "/api/metrics/alerts", headers=seen).status_code == 200


def test_a_test_says_what_became_of_each_channel(api: Api) -> None:
    api.post("/api/alerts/rules", RULE)
    tried = api.post("/api/alerts/rules/slow/test", {}).json["channels"]
    assert [(each["channel"], each["status"], each["reason"]) for each in tried] == [
        ("log", "delivered", None),
        ("webhook", "failed", "not_configured"),
    ]
    assert [each["hint"] for each in tried] == [None, "set WEIR_CHANNEL_WEBHOOK_URL, and start Weir again"]


def test_a_rule_about_what_is_not_there_is_taken_with_a_warning(api: Api) -> None:
    def warnings(**words: object) -> list[str]:
        made = api.post("/api/alerts/rules", {**RULE, **words})
        assert made.status_code == 201
        assert api.open("DELETE", "/api/alerts/rules/slow").status_code == 200
        found: list[str] = made.json["warnings"]
        return found

    api.write("faulty", "  - {id: a, type: nothing}\n")
    for name, words in (("on", {}), ("off", {"enabled": False}), ("mutual", {"parents": ["slow"]})):
        api.post("/api/alerts/rules", {**RULE, "name": name, **words})

    assert warnings() == warnings(space="default") == warnings(command="todo.add") == []
    assert warnings(command="faulty") == warnings(command="small", component="chat") == []
    assert warnings(space="nowhere") == ["no space 'nowhere' yet"]
    assert warnings(command="todo.ad") == ["no command 'todo.ad' yet, unless a model is meant"]
    assert warnings(command="todo.ad", component="command") == ["no command 'todo.ad' yet"]
    assert warnings(parents=["on", "off", "nobody"]) == [
        "the rule 'off' is disabled: it mutes nothing",
        "no rule 'nobody' yet: it mutes nothing",
    ]
    assert warnings(parents=["mutual"]) == [
        "the rule 'mutual' is muted by this one, too: whichever fires, nobody may be told"
    ]


def test_a_silence_ends_and_says_what_it_keeps_back(api: Api) -> None:
    alert = fire(api)
    shown = api.post("/api/alerts/silences", {"rule": "slow", "for": "1h", "preview": True})
    assert shown.status_code == 200
    assert (shown.json["rules"], [each["id"] for each in shown.json["firing"]]) == (["slow"], [alert["id"]])
    assert api.get("/api/alerts/silences").json["items"] == []

    kept = api.post("/api/alerts/silences", {"severity": "warning", "for": "1h"})
    assert kept.status_code == 201
    assert api.get("/api/alerts/silences").json["items"][0]["id"] == kept.json["id"]
    path = f"/api/alerts/silences/{kept.json['id']}"
    assert api.open("DELETE", path).status_code == 200
    assert api.open("DELETE", path).json["code"] == "alert.silence_not_found"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "request.invalid"),
        ({"for": "1h", "ends_at": "2100-01-01T00:00:00Z"}, "request.invalid"),
        ({"for": "0s"}, "alert.silence_invalid"),
        ({"for": "32d"}, "alert.silence_invalid"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "alert.silence_invalid"),
        ({"starts_at": "9999-12-31T00:00:00Z", "for": "31d"}, "request.invalid"),
        ({"for": "1h", "rule": "nothing"}, "alert.rule_not_found"),
    ],
)
def test_a_silence_without_a_fit_end_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    assert api.post("/api/alerts/silences", body).json["code"] == code


def test_the_command_line_does_all_of_it(busy_api: Api, weir: Weir) -> None:
    added = weir(
        *("alerts", "rules", "add", "slow", "--metric", "total_latency", "--statistic", "p95", "--threshold", "5000"),
        *("--window", "10m", "--for", "5m", "--channel", "log", "--parent", "sink-lag", "--user", "alice"),
    )
    assert added.code == 0
    assert "fires when total_latency p95 > 5000 ms over 10m, 1 time in a row, for 5m" in added.out
    assert "kept quiet while one of these fires: sink-lag" in added.out
    assert f"only of user {busy_api.resources.pseudonyms.user('alice').hex()}" in added.out
    assert "slow" in weir("alerts", "rules", "list").out
    assert "Did you mean slow?" in weir("alerts", "rules", "show", "slwo").err
    assert json.loads(weir("alerts", "rules", "show", "slow", "--format", "json").out)["parents"] == ["sink-lag"]
    assert "disabled" in weir("alerts", "rules", "disable", "slow").out
    assert "slow: ok" in weir("alerts", "rules", "enable", "slow").out
    assert weir("alerts", "test", "slow").out == "log: delivered\n"
    preview = weir("alerts", "silence", "--rule", "slow", "--for", "2h", "--preview")
    assert "1 rule would be quiet until" in preview.out
    made = json.loads(weir("alerts", "silence", "--rule", "slow", "--for", "2h", "--format", "json").out)
    assert made["id"] in weir("alerts", "silences").out
    assert weir("alerts", "unsilence", made["id"]).out.startswith("ended")
    assert weir("alerts", "silence", "--rule", "slow").code == 2
    assert weir("alerts", "rules", "remove", "slow").out == "slow is removed\n"
    assert weir("alerts", "list").out == "Nothing fired.\n"

    alert = fire(busy_api)
    assert alert["id"] in weir("alerts", "list").out
    assert "in hand since" in weir("alerts", "ack", alert["id"], "--user", "alice").out
    shown = weir("alerts", "show", alert["id"]).out
    assert "slow: total_latency average is 8000 ms over 1m (> 5000)" in shown
    assert "webhook  fire  due" in shown
    assert weir("alerts", "test", "slow").code == 1
    far = weir("alerts", "rules", "add", "far", "--metric", "error_rate", "--threshold", "5", "--space", "nowhere")
    assert (far.code, far.err) == (0, "weir: no space 'nowhere' yet\n")


def test_what_the_scheduler_is_made_of_declares_evaluates_and_tells(api: Api) -> None:
    held = api.resources
    assert make_rule_declarer(held).run_once() == 6
    api.post(
        "/api/alerts/rules", {**RULE, "metric": "disk_free", "operator": "<", "threshold": 1e18, "channels": ["inbox"]}
    )
    told = make_evaluator(held).run_once()
    assert [alert.rule for alert in told.fired] == ["slow"]
    with posting(make_post(held)), connect(str(held.servers.database_url), name="test", autocommit=True) as connection:
        eventually(lambda: connection.execute("select from notifications").rowcount == 1)
