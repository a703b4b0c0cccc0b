"""What is said of alerts: numbers and registered names, never anything that a user wrote. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from dsl.channels.channel import Message
from dsl.notifications import MessageLevel
from telemetry.alerts.figures import about
from telemetry.alerts.ledger import Delivery, Kind
from telemetry.alerts.store import Alert

_LEVELS: Final[Mapping[str, MessageLevel]] = {"info": "info", "warning": "warning", "critical": "error"}
_VERBS: Final[Mapping[Kind, str]] = {"fire": "Fired", "resolve": "Resolved", "renotify": "Still firing"}


def message_of(
    delivery: Delivery, alerts: Sequence[Alert], summed: tuple[int, Sequence[str]], user: str, space_id: UUID
) -> Message:
    """What a channel is to tell.

    Args:
        delivery: Of what.
        alerts: Its alerts, oldest first.
        summed: Of a summary: how many messages it stands for, and of which rules.
        user: Whose inbox.
        space_id: Where it is.
    """
    if delivery.kind == "test":
        text, level = f"Test of the rule {delivery.rules[0]}: this channel works.", "info"
    elif delivery.kind == "summary":
        text, level = _summary(*summed), "warning"
    else:
        text, level = _told(delivery.kind, alerts), _level(delivery.kind, alerts)
    return Message(
        level=_LEVELS.get(level, "warning"),
        text=text,
        user=user,
        space_id=space_id,
        execution_id=None,
        origin="alerts",
        at=delivery.created_at,
        key=delivery.id,
        kind=f"alert.{delivery.kind}",
        facts={"alerts": [_facts(alert) for alert in alerts], "rules": delivery.rules or list(summed[1])},
    )


def _told(kind: Kind, alerts: Sequence[Alert]) -> str:
    return "\n".join(_line(kind, alert) for alert in alerts)


def _line(kind: Kind, alert: Alert) -> str:
    if kind == "resolve" and alert.resolved_at is not None:
        # Names have no blanks: the first `is` is that of the value, which is not so any more.
        was = alert.message.replace(" is ", " was ", 1)
        return f"Resolved after {about(alert.resolved_at - alert.fired_at)}: {was}"
    return f"{_VERBS[kind]} ({alert.severity}): {alert.message}"


def _summary(messages: int, rules: Sequence[str]) -> str:
    return f"{messages} more messages than an hour may have were kept back, of: {', '.join(rules)}"


def _level(kind: Kind, alerts: Sequence[Alert]) -> str:
    """That of the worst; good news is not bad."""
    severities = {alert.severity for alert in alerts}
    if kind == "resolve":
        return "info"
    return next((severity for severity in ("critical", "warning") if severity in severities), "info")


def _facts(alert: Alert) -> dict[str, Any]:
    return {
        "id": str(alert.id),
        "rule": alert.rule,
        "metric": alert.metric,
        "statistic": alert.statistic,
        "severity": alert.severity,
        "value": alert.value,
        "operator": alert.operator,
        "threshold": alert.threshold,
        "unit": alert.unit,
        "state": alert.state,
        "fired_at": alert.fired_at.isoformat(),
        "resolved_at": None if alert.resolved_at is None else alert.resolved_at.isoformat(),
    }
