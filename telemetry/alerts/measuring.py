"""What rules are compared with: figures of requests, exact from roll-ups and events; and how telemetry itself is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import scalar_row

from telemetry.alerts.rule import Rule
from telemetry.alerts.states import Observation
from telemetry.clock import to_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.metrics import METRICS, REQUESTS, Asked, total
from telemetry.sql import queries
from telemetry.transport import SILENCE, watermark

SQL = queries(__file__)

#: How a value is measured now, over a window.
Probe = Callable[[Connection[Any], datetime, timedelta], float]


def observe(connection: Connection[Any], rule: Rule, ends_at: datetime) -> Observation:
    """What is seen of a rule about requests in the window that ends at an instant.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        rule: About requests.
        ends_at: A whole minute.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    value = _measured(connection, rule, ends_at)
    return observed(rule, ends_at, value)


def observed(rule: Rule, at: datetime, value: float | None) -> Observation:
    """What is seen, given what was measured."""
    if value is None:
        return Observation(at, "nothing")
    return Observation(at, "violated" if rule.is_violated_by(value) else "clear", value)


def lag(connection: Connection[Any], silence: timedelta = SILENCE) -> timedelta:
    """How far what is stored is behind what has happened, as far as producers are heard of: not of clocks apart.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    now: datetime | None = connection.cursor(row_factory=scalar_row).execute(SQL["now"]).fetchone()
    assert now is not None  # noqa: S101 - a constant has a row
    return max(now - watermark(connection, silence).at, timedelta(0))


def probes(silence: timedelta = SILENCE) -> Mapping[str, Probe]:
    """How telemetry itself is, by metric."""
    return {
        "sink_lag": lambda connection, _now, _window: lag(connection, silence).total_seconds(),
        "spooling": lambda connection, _now, _window: count(connection, SQL["pressed"], silence=silence),
        "new_errors": lambda connection, now, window: count(
            connection, SQL["new_errors"], first_id=least_id_at(to_unix_us(now - window))
        ),
    }


def count(connection: Connection[Any], statement: Any, **values: object) -> float:  # noqa: ANN401 - of SQL
    """The one number that a statement gives."""
    return float(connection.cursor(row_factory=scalar_row).execute(statement, values).fetchone() or 0)


def _measured(connection: Connection[Any], rule: Rule, ends_at: datetime) -> float | None:
    space = _space(connection, rule.space) if rule.space is not None else None
    if rule.space is not None and space is None:
        return None
    asked = Asked(
        since=ends_at - rule.window,
        until=ends_at,
        components=(rule.component,) if rule.component is not None else tuple(REQUESTS),
        user_id=bytes.fromhex(rule.user) if rule.user is not None else None,
        space_id=space,
        operation=rule.command,
    )
    bucket = total(connection, asked)
    if bucket.of("duration").events < rule.least_requests:
        return None
    value, told = METRICS[rule.metric].point(bucket)
    found = told.get(rule.measured, value)
    return None if found is None else float(found)


def _space(connection: Connection[Any], name: str) -> UUID | None:
    return connection.cursor(row_factory=scalar_row).execute(SQL["space"], {"name": name}).fetchone()
