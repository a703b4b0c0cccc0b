"""`/api/alerts`: what fired, the rules, who was told, and quiet for a while; `/api/metrics/alerts` lists the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView
from psycopg import Connection

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources
from api.resources.due_times import time_fault
from api.resources.preconditions import ETAG_HEADER, IF_NONE_MATCH_HEADER, UNCHANGED, kept
from api.resources.rule_warnings import warnings_of
from api.schemas.alerts import (
    AcknowledgeBody,
    AlertDetailShape,
    AlertPage,
    AlertQuery,
    AlertShape,
    MadeRuleShape,
    NewRuleShape,
    RulePage,
    RuleShape,
    SilenceBody,
    SilencedShape,
    SilencePage,
    SilenceShape,
    TestedShape,
)
from api.schemas.requests import EmptyShape
from dsl.channels import REQUIRED, make_channels
from dsl.channels.errors import NOT_CONFIGURED
from telemetry.alerts import ledger, store
from telemetry.alerts.ledger import Attempt, Delivery
from telemetry.alerts.rule import make_rule, words_of
from telemetry.alerts.store import Alert, Silence, Standing, StoredRule
from telemetry.filters.kinds import EARLIEST
from telemetry.settings import parse_duration, variable_of
from workers.alerting.post import Post, Told
from workers.executions import reaching_store

blueprint = Blueprint("alerts", __name__, url_prefix="/api/alerts", description="What fired, and who is told.")
metrics = Blueprint("alert_metrics", __name__, url_prefix="/api/metrics", description="Figures of requests.")


@blueprint.route("")
class Alerts(MethodView):
    """All alerts."""

    @blueprint.arguments(AlertQuery, location="query")
    @blueprint.response(200, AlertPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List every time that a rule fired, newest first."""
        return _alerts(query)


@metrics.route("/alerts")
class TriggeredAlerts(MethodView):
    """Alerts, beside the other metrics."""

    @metrics.takes(IF_NONE_MATCH_HEADER)
    @metrics.arguments(AlertQuery, location="query")
    @metrics.response(200, AlertPage, headers=ETAG_HEADER)
    @metrics.alt_response(304, description=UNCHANGED)
    @metrics.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List every time that a rule fired, newest first; as `GET /api/alerts`."""
        # Somebody may just have acknowledged one: never shown again without being asked for.
        return kept(_alerts(query), "private, no-cache")


@blueprint.route("/<id:alert_id>")
class OneAlert(MethodView):
    """One alert."""

    @blueprint.response(200, AlertDetailShape)
    @blueprint.refuses(404, 503)
    def get(self, alert_id: UUID) -> Response:
        """Show an alert, and what became of each message of it."""
        with _transaction() as connection:
            alert = store.get_alert(connection, alert_id)
            told = ledger.of_alert(connection, alert)
        return json_answer(alert_json(alert) | {"deliveries": [_delivery_json(*each) for each in told]})


@blueprint.route("/<id:alert_id>/ack")
class Acknowledgement(MethodView):
    """Having an alert in hand."""

    @blueprint.arguments(AcknowledgeBody, required=False)
    @blueprint.response(200, AlertShape)
    @blueprint.refuses(404, 503)
    def post(self, body: Mapping[str, Any], alert_id: UUID) -> Response:
        """Say that somebody has it in hand: nobody is told again that it is still there. Who said so first is kept."""
        held = resources()
        by = held.pseudonyms.user(body["user"])
        with _transaction() as connection:
            return json_answer(alert_json(store.acknowledge(connection, alert_id, by, held.clock.now())))


@blueprint.route("/rules")
class Rules(MethodView):
    """All rules."""

    @blueprint.response(200, RulePage)
    @blueprint.refuses(503)
    def get(self) -> Response:
        """List every rule, by name, and how it stands."""
        with _transaction() as connection:
            rules, standings = store.list_rules(connection), store.standings(connection)
        items = [_rule_json(each, standings.get(each.rule.name)) for each in rules]
        return json_answer({"items": items, "next_cursor": None})

    @blueprint.arguments(NewRuleShape)
    @blueprint.response(201, MadeRuleShape)
    @blueprint.refuses(409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Make a rule; it is looked at within half a minute. Warnings name what it is about and is not there yet."""
        held = resources()
        words = {("for" if key == "for_" else key): value for key, value in body.items() if key != "name"}
        if words.get("user") is not None:
            words["user"] = held.pseudonyms.user(words["user"]).hex()
        rule = make_rule(body["name"], words)
        with _transaction() as connection:
            warnings = warnings_of(connection, rule)
            store.add_rule(connection, rule, held.clock.now())
            made = _rule_json(store.get_rule(connection, rule.name), None)
        return json_answer(made | {"warnings": warnings}, 201)


@blueprint.route("/rules/<name>")
class OneRule(MethodView):
    """One rule."""

    @blueprint.response(200, RuleShape)
    @blueprint.refuses(404, 503)
    def get(self, name: str) -> Response:
        """Show a rule and how it stands."""
        with _transaction() as connection:
            return json_answer(_shown(connection, store.get_rule(connection, _known(name))))

    @blueprint.response(200, RuleShape)
    @blueprint.refuses(404, 409, 503)
    def delete(self, name: str) -> Response:
        """Remove a rule of a user's. An alert of it that is open ends, and nobody is told; what fired is kept."""
        with _transaction() as connection:
            removed = _shown(connection, store.get_rule(connection, _known(name)))
            store.remove_rule(connection, _known(name), resources().clock.now())
        return json_answer(removed)


@blueprint.route("/rules/<name>/enable")
class Enabling(MethodView):
    """Switching a rule on."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, RuleShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Look at a rule, whosever it is."""
        return _switch(name, enabled=True)


@blueprint.route("/rules/<name>/disable")
class Disabling(MethodView):
    """Switching a rule off."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, RuleShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Look at a rule no more, whosever it is. An alert of it that is open ends, and nobody is told."""
        return _switch(name, enabled=False)


@blueprint.route("/rules/<name>/test")
class Testing(MethodView):
    """Trying a rule's channels."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, TestedShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Send a test through each channel of a rule, once, and say what became of each."""
        held = resources()
        channels = make_channels(held.workers.dsl.channels, held.clock)
        post = Post(held.pool, held.clock, channels, held.workers.alerts)
        with _transaction() as connection:
            rule = store.get_rule(connection, _known(name)).rule
            sent = [ledger.send_test(connection, channel, rule.name, held.clock.now()) for channel in rule.channels]
        tried = [(delivery, post.deliver(delivery.id)) for delivery in sent]
        return json_answer({"rule": rule.name, "channels": [_tried_json(*each) for each in tried]})


@blueprint.route("/silences")
class Silences(MethodView):
    """Quiet."""

    @blueprint.response(200, SilencePage)
    @blueprint.refuses(503)
    def get(self) -> Response:
        """List silences that hold or will hold, by their end."""
        with _transaction() as connection:
            found = store.list_silences(connection, resources().clock.now())
        return json_answer({"items": [_silence_json(each) for each in found], "next_cursor": None})

    @blueprint.arguments(SilenceBody)
    @blueprint.response(201, SilencedShape)
    @blueprint.alt_response(200, schema=SilencedShape, description="What a preview found; nothing is kept.")
    @blueprint.refuses(404, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Have no notifications for a while, of a rule, of a severity or of all. What fires is noted all the same.

        What is still there when the silence ends is told of then. A preview keeps nothing, and is answered 200.
        """
        held = resources()
        silence = store.make_silence(
            rule=body["rule"],
            severity=body["severity"],
            starts_at=body["starts_at"],
            ends_at=_end_of(body, held.clock.now()),
            by=held.pseudonyms.user(body["user"]),
            now=held.clock.now(),
        )
        with _transaction() as connection:
            if silence.rule is not None:
                store.get_rule(connection, silence.rule)
            if not body["preview"]:
                store.add_silence(connection, silence)
            rules = store.kept_back(store.list_rules(connection), silence)
            open_ones = store.list_alerts(connection, limit=1000, state="firing")
        firing = [alert for alert in open_ones if alert.rule in rules]
        shown = {"preview": body["preview"], "rules": rules, "firing": [alert_json(alert) for alert in firing]}
        return json_answer(_silence_json(silence) | shown, 200 if body["preview"] else 201)


@blueprint.route("/silences/<id:silence_id>")
class OneSilence(MethodView):
    """One silence."""

    @blueprint.response(200, SilenceShape)
    @blueprint.refuses(404, 503)
    def delete(self, silence_id: UUID) -> Response:
        """End a silence now."""
        with _transaction() as connection:
            return json_answer(_silence_json(store.end_silence(connection, silence_id, resources().clock.now())))


def alert_json(alert: Alert) -> dict[str, Any]:
    """As lists show it."""
    return _hex(asdict(alert), "acknowledged_by")


def _alerts(query: Mapping[str, Any]) -> Response:
    limit, before = page_limit(query["limit"]), id_from_cursor("alert", query["cursor"])
    with _transaction() as connection:
        rows = store.list_alerts(
            connection,
            limit=limit + 1,
            before=before,
            state=query["state"],
            rule=query["rule"],
            severity=query["severity"],
            since=_since(query["time_range"]),
        )
    return json_answer(page(rows, limit, alert_json, lambda row: make_cursor("alert", row.id)))


def _since(time_range: str | None) -> datetime | None:
    if time_range is None:
        return None
    try:
        return max(EARLIEST, resources().clock.now() - parse_duration(time_range))
    except OverflowError:
        return EARLIEST


def _switch(name: str, *, enabled: bool) -> Response:
    with _transaction() as connection:
        rule = store.switch_rule(connection, _known(name), enabled=enabled, now=resources().clock.now())
        return json_answer(_shown(connection, rule))


def _shown(connection: Connection[Any], rule: StoredRule) -> dict[str, Any]:
    return _rule_json(rule, store.standings(connection).get(rule.rule.name))


def _known(name: str) -> str:
    """A name as Postgres can be asked for it: nothing is called by another."""
    return name.replace("\0", "?").encode(errors="replace").decode()


def _end_of(body: Mapping[str, Any], now: datetime) -> datetime:
    """When a silence ends.

    Raises:
        RequestInvalid: It is not said, or said twice.
    """
    if (body["ends_at"] is None) == (body["for_"] is None):
        raise RequestInvalid([time_fault("ends_at", "ends_at: a silence ends", "either `ends_at` or `for`")])
    if body["for_"] is None:
        ends_at: datetime = body["ends_at"]
        return ends_at
    span: timedelta = min(body["for_"], store.LONGEST_SILENCE + timedelta(days=1))
    try:
        return (body["starts_at"] or now) + span
    except OverflowError:
        raise RequestInvalid([time_fault("starts_at", "starts_at: too far ahead", "within 31 days")]) from None


def _rule_json(rule: StoredRule, standing: Standing | None) -> dict[str, Any]:
    stands = standing or Standing()
    return {
        "name": rule.rule.name,
        **words_of(rule.rule),
        "statistic": rule.rule.measured,
        "unit": rule.rule.unit,
        "origin": rule.origin,
        "changed_at": rule.changed_at,
        "state": stands.track.state,
        "since": stands.track.since,
        "value": stands.track.value,
        "evaluated_until": stands.evaluated_until,
        "skipped_windows": stands.skipped_windows,
    }


def _silence_json(silence: Silence) -> dict[str, Any]:
    return _hex(asdict(silence), "created_by")


def _delivery_json(delivery: Delivery, attempts: list[Attempt]) -> dict[str, Any]:
    names = ("id", "channel", "kind", "status", "reason", "created_at", "due_at", "finished_at")
    shown = {name: getattr(delivery, name) for name in names}
    return {**shown, "latency_ms": _ms(delivery.latency_us), "attempts": [_attempt_json(each) for each in attempts]}


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    shown = asdict(attempt)
    latency_us = shown.pop("latency_us")
    return {**shown, "latency_ms": _ms(latency_us)}


def _tried_json(delivery: Delivery, told: Told | None) -> dict[str, Any]:
    """Taken by the scheduler before this process came to it, it is still due here."""
    if told is None:
        return {"channel": delivery.channel, "status": "due", "reason": None, "latency_ms": None, "hint": None}
    return {
        "channel": delivery.channel,
        "status": told.status,
        "reason": told.reason,
        "latency_ms": _ms(told.latency_us),
        "hint": _hint(delivery.channel, told.reason),
    }


def _hint(channel: str, reason: str | None) -> str | None:
    """What to do for a channel that is not set up: the settings that it needs and has not."""
    if reason != NOT_CONFIGURED:
        return None
    settings = resources().workers.dsl.channels
    missing = [variable_of(settings.section, key) for key in REQUIRED[channel] if not getattr(settings, key)]
    return f"set {' and '.join(missing)}, and start Weir again"


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000


def _hex(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {**row, name: None if row[name] is None else row[name].hex()}


@contextmanager
def _transaction() -> Iterator[Connection[Any]]:
    with reaching_store(), resources().pool.connection() as connection, connection.transaction():
        yield connection
