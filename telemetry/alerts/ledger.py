"""Deliveries: what each channel is to tell of alerts, every attempt, and what became of it.

A delivery is made in the transaction in which its alert fires or ends, so none is forgotten. It is claimed before it is
tried: whoever is killed meanwhile leaves an attempt that began, and it is tried again under the same id, by which a
receiver knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, dict_row

from telemetry.alerts.store import Alert
from telemetry.clock import to_unix_us
from telemetry.ids import new_id
from telemetry.sql import queries

SQL = queries(__file__)

Kind = Literal["fire", "resolve", "renotify", "summary", "test"]
Status = Literal["due", "delivered", "failed", "withheld", "capped"]

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `telemetry_alert_deliveries`.

    Attributes:
        id: By which a receiver knows it, however often it comes.
        alert_ids: What it tells of; nothing for summaries and tests.
        rules: Names of their rules.
        reason: Why it failed, last, or was kept back.
        due_at: When it is tried next.
        latency_us: Of the last attempt.
        summary_id: Where it is told instead.
    """

    id: UUID
    channel: str
    kind: Kind
    alert_ids: list[UUID]
    rules: list[str]
    status: Status
    created_at: datetime
    reason: str | None = None
    attempts: int = 0
    due_at: datetime | None = None
    finished_at: datetime | None = None
    latency_us: int | None = None
    summary_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `telemetry_alert_attempts`."""

    attempt: int
    began_at: datetime
    outcome: Literal["begun", "delivered", "failed"]
    reason: str | None
    latency_us: int | None


def send(  # noqa: PLR0913 - one for each thing that is known of it
    connection: Connection[Any], channel: str, kind: Kind, alerts: Sequence[Alert], now: datetime, cap: int
) -> Delivery:
    """Have a channel tell of alerts, in one message; past the hourly cap in a summary, when the hour is over."""
    delivery = _make(channel, kind, alerts, "due", now, due_at=now)
    values = {"channel": channel, "since": now - _HOUR, "now": now, "limit": cap}
    lately = connection.execute(SQL["told_lately"], values).fetchall()
    if len(lately) >= cap:
        summary = _summary(connection, channel, lately[0][0] + _HOUR, now)
        delivery = _make(channel, kind, alerts, "capped", now, summary_id=summary)
    connection.execute(SQL["add"], asdict(delivery))
    return delivery


def withhold(  # noqa: PLR0913 - as above
    connection: Connection[Any], channel: str, kind: Kind, alerts: Sequence[Alert], now: datetime, reason: str
) -> None:
    """Note what is not told, and why."""
    connection.execute(SQL["add"], asdict(_make(channel, kind, alerts, "withheld", now, reason=reason)))


def send_test(connection: Connection[Any], channel: str, rule: str, now: datetime) -> Delivery:
    """Have a channel say that it works."""
    delivery = Delivery(new_id(to_unix_us(now)), channel, "test", [], [rule], "due", now, due_at=now)
    connection.execute(SQL["add"], asdict(delivery))
    return delivery


def claim(
    connection: Connection[Any], now: datetime, lease: timedelta, delivery_id: UUID | None = None
) -> Delivery | None:
    """The delivery that is tried next, if one is due; its attempt has begun, and it is the caller's for a while."""
    cursor = connection.cursor(row_factory=class_row(Delivery))
    values = {"now": now, "again_at": now + lease, "id": delivery_id}
    found = cursor.execute(SQL["claim"], values).fetchone()
    if found is not None:
        connection.execute(SQL["begin"], {"id": found.id, "attempt": found.attempts, "now": now})
    return found


def end(  # noqa: PLR0913 - one for each thing that is known of it
    connection: Connection[Any],
    delivery: Delivery,
    *,
    reason: str | None,
    latency_us: int,
    again_at: datetime | None,
    now: datetime,
) -> Status:
    """An attempt ends: delivered without a reason; with one tried again, or failed for good without a time for that."""
    status: Status = "delivered" if reason is None else "failed" if again_at is None else "due"
    connection.execute(
        SQL["end"],
        {
            "id": delivery.id,
            "attempt": delivery.attempts,
            "outcome": "delivered" if reason is None else "failed",
            "reason": reason,
            "latency_us": latency_us,
            "status": status,
            "due_at": again_at if status == "due" else None,
            "finished_at": None if status == "due" else now,
        },
    )
    return status


def told_of(connection: Connection[Any], delivery: Delivery) -> list[Alert]:
    """The alerts of a delivery, oldest first."""
    cursor = connection.cursor(row_factory=class_row(Alert))
    return cursor.execute(SQL["alerts_of"], {"ids": delivery.alert_ids}).fetchall()


def summed_up(connection: Connection[Any], delivery: Delivery) -> tuple[int, list[str]]:
    """What a summary tells of: how many messages were kept back, and names of their rules, at most 20."""
    row = connection.execute(SQL["capped"], {"id": delivery.id}).fetchone()
    return (row[0], row[1]) if row else (0, [])


def of_alert(connection: Connection[Any], alert: Alert) -> list[tuple[Delivery, list[Attempt]]]:
    """Deliveries of an alert, in order, each with its attempts."""
    values = {"id": alert.id, "since": alert.fired_at, "channels": alert.channels}
    with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        found = cursor.execute(SQL["of_alert"], values).fetchall()
    return [(delivery, attempts_of(connection, delivery.id)) for delivery in found]


def attempts_of(connection: Connection[Any], delivery_id: UUID) -> list[Attempt]:
    """How often a delivery was tried, and how that went."""
    return connection.cursor(row_factory=class_row(Attempt)).execute(SQL["attempts"], {"id": delivery_id}).fetchall()


def _summary(connection: Connection[Any], channel: str, due_at: datetime, now: datetime) -> UUID:
    """The summary that a channel has not begun to tell, made if there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(SQL["summary_due"], {"channel": channel}).fetchone()
    if found is not None:
        return UUID(str(found["id"]))
    summary = Delivery(new_id(to_unix_us(now)), channel, "summary", [], [], "due", now, due_at=due_at)
    connection.execute(SQL["add"], asdict(summary))
    return summary.id


def _make(  # noqa: PLR0913 - one for each thing that is known of it
    channel: str,
    kind: Kind,
    alerts: Sequence[Alert],
    status: Status,
    now: datetime,
    *,
    reason: str | None = None,
    due_at: datetime | None = None,
    summary_id: UUID | None = None,
) -> Delivery:
    return Delivery(
        new_id(to_unix_us(now)),
        channel,
        kind,
        [alert.id for alert in alerts],
        sorted({alert.rule for alert in alerts}),
        status,
        now,
        reason=reason,
        due_at=due_at,
        finished_at=None if status == "due" else now,
        summary_id=summary_id,
    )
