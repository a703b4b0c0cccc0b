"""Rules that are declared, and what users may do to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.alerting import Alerting

from api.settings import load_settings
from telemetry.alerts import store
from telemetry.alerts.errors import RuleDeclared, RuleExists, RuleNotFound
from telemetry.alerts.settings import AlertSettings, own_rules
from telemetry.errors import SettingsInvalid
from telemetry.privacy import Pseudonyms
from workers.alerting.declarer import RuleDeclarer

pytestmark = pytest.mark.req("A-07")

WEIR_TOML = """
[alerts]
daily_token_budget = 100000

[alerts.rules.chat-slow]
metric = "llm_latency"
statistic = "p95"
threshold = 20000
window = "10m"
for = "5m"
component = "chat"
channels = ["inbox", "webhook"]

[alerts.rules.latency]
metric = "total_latency"
threshold = 1000
user = "Alice"
"""


def settings_of(folder: Path, text: str) -> AlertSettings:
    (folder / "weir.toml").write_text(text, encoding="utf-8")
    return load_settings({}, folder).workers.alerts


def declare(alerting: Alerting, settings: AlertSettings) -> int:
    return RuleDeclarer(alerting.pool, alerting.clock, settings, Pseudonyms(b"key")).run_once()


def stored(alerting: Alerting) -> dict[str, store.StoredRule]:
    with alerting.pool.connection() as connection:
        return {each.rule.name: each for each in store.list_rules(connection)}


def test_rules_of_the_file_and_of_the_beginning_are_there(alerting: Alerting, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, WEIR_TOML)
    assert declare(alerting, settings) == 8
    assert declare(alerting, settings) == 0
    rules = stored(alerting)
    assert set(rules) == {
        *("chat-slow", "daily-tokens", "error-rate", "latency", "missed-schedules", "new-errors", "sink-lag"),
        "spooling",
    }
    assert rules["chat-slow"].origin == rules["latency"].origin == "file"
    assert rules["latency"].rule.user == Pseudonyms(b"key").user("Alice").hex()
    assert rules["daily-tokens"].rule.threshold == 120_000
    assert rules["error-rate"].rule.threshold == 10


def test_without_budget_and_capacity_their_rules_are_not_there() -> None:
    assert {rule.name for rule in own_rules(AlertSettings())} & {"daily-tokens", "request-rate"} == set()
    capacity = {rule.name: rule for rule in own_rules(AlertSettings(request_capacity=200))}
    assert capacity["request-rate"].threshold == 300


def test_every_fault_of_the_file_is_named(tmp_path: Path) -> None:
    wrong = '[alerts.rules.a]\nmetric = "latency"\nthreshold = 1\n[alerts.rules.B]\ntreshold = 2\n[alerts]\nx = 1\n'
    with pytest.raises(SettingsInvalid) as raised:
        settings_of(tmp_path, wrong)
    said = str(raised.value)
    assert "weir.toml [alerts.rules.a]: metric: expected one of" in said
    assert "weir.toml [alerts.rules.B]: a name is" in said
    assert "did you mean threshold?" in said
    assert "weir.toml [alerts] x: there is no such setting" in said


def test_what_is_declared_can_be_switched_and_nothing_else(alerting: Alerting, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, WEIR_TOML)
    declare(alerting, settings)
    now = alerting.clock.now()
    with alerting.pool.connection() as connection:
        with pytest.raises(RuleDeclared):
            store.remove_rule(connection, "chat-slow", now)
        with pytest.raises(RuleExists):
            store.add_rule(connection, replace(own_rules(AlertSettings())[0], name="chat-slow"), now)
        assert not store.switch_rule(connection, "chat-slow", enabled=False, now=now).rule.enabled
    changed = settings_of(tmp_path, WEIR_TOML.replace("20000", "30000"))
    assert declare(alerting, changed) == 1
    rule = stored(alerting)["chat-slow"].rule
    assert (rule.threshold, rule.enabled) == (30_000, False)


def test_what_is_declared_no_more_goes_with_its_alert_and_keeps_its_history(alerting: Alerting, tmp_path: Path) -> None:
    toml = '[alerts.rules.slow]\nmetric = "total_latency"\nthreshold = 5\nwindow = "1m"\nchannels = ["log"]\n'
    declare(alerting, settings_of(tmp_path, toml))
    alerting.minute(8000)
    declare(alerting, settings_of(tmp_path, ""))
    assert "slow" not in stored(alerting)
    assert [(alert.rule, alert.state) for alert in alerting.alerts if alert.rule == "slow"] == [("slow", "resolved")]
    with alerting.pool.connection() as connection, pytest.raises(RuleNotFound):
        store.get_rule(connection, "slow")
