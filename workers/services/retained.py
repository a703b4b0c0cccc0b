"""What stays how long: every kind of rows but events and executions, each one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from telemetry.settings import RetentionSettings
from telemetry.slices import Kind, Limit


@dataclass(frozen=True, slots=True)
class Horizon:
    """From when on something is there.

    Attributes:
        now: The time.
        events: The first day of events that stays.
        accounts: The oldest event that stays, of those too that outlived their day.
        older_than: An age that somebody asked for instead of the settings.
    """

    now: datetime
    events: datetime
    accounts: datetime
    older_than: timedelta | None = None

    def after(self, days: int) -> datetime:
        """What is before this instant has been there for so many days, or for as long as was asked for."""
        return self.now - (timedelta(days=days) if self.older_than is None else self.older_than)


@dataclass(frozen=True, slots=True)
class Retained:
    """A kind of rows, and what may stay of it.

    Attributes:
        kind: The rows.
        limit: From the settings and how far events reach back.
        is_telemetry: Whether an age that somebody asks for is for these too; operational data has its own.
    """

    kind: Kind
    limit: Callable[[RetentionSettings, Horizon], Limit]
    is_telemetry: bool = True


#: Rows whose event, or that which they are told by, may still be missing.
_UNCOMPARED: Final = (
    "not coalesce(coalesce(t.event_id, t.id) < (select compared_until from telemetry_comparison), false)"
)

RETAINED: Final = (
    Retained(
        Kind(
            "kept events",
            "telemetry_events_kept",
            "event_id",
            "occurred_at",
            stays="exists (select from telemetry_pins as p where p.correlation_id = t.correlation_id)",
            are_events=True,
        ),
        lambda keep, horizon: Limit(
            min(horizon.after(keep.errors_days), horizon.events), max_bytes=keep.events_max_bytes // 8
        ),
    ),
    Retained(
        Kind(
            "chains",
            "telemetry_correlation_chains",
            "last_event_id",
            "ended_at",
            stays="exists (select from telemetry_events_kept as k where k.correlation_id = t.correlation_id)",
        ),
        lambda _, horizon: Limit(horizon.events),
    ),
    Retained(
        Kind("health checks", "telemetry_health_checks", "id", "checked_at"),
        lambda keep, horizon: Limit(horizon.after(keep.health_checks_days)),
    ),
    Retained(
        Kind("performance", "telemetry_performance_snapshots", "id", "window_at"),
        lambda keep, horizon: Limit(horizon.after(keep.performance_snapshots_days)),
    ),
    # However old they are, while there is an event with that error.
    Retained(
        Kind(
            "error frames",
            "telemetry_error_frames",
            "id",
            "noted_at",
            stays="exists (select from telemetry_events as e where e.error_fingerprint = t.fingerprint)"
            " or exists (select from telemetry_events_kept as k where k.error_fingerprint = t.fingerprint)",
        ),
        lambda keep, horizon: Limit(horizon.after(keep.errors_days)),
    ),
    # One that has not ended stays, and so does a message that is still to be told.
    Retained(
        Kind("alerts", "telemetry_alerts", "id", "fired_at", stays="t.state = 'firing'"),
        lambda keep, horizon: Limit(horizon.after(keep.alerts_days)),
    ),
    Retained(
        Kind("messages of alerts", "telemetry_alert_deliveries", "id", "created_at", stays="t.status = 'due'"),
        lambda keep, horizon: Limit(horizon.after(keep.alerts_days)),
    ),
    Retained(
        Kind("silences", "telemetry_alert_silences", "id", "ends_at"),
        lambda keep, horizon: Limit(horizon.after(keep.alerts_days)),
    ),
    Retained(
        Kind("quarantine", "telemetry_quarantine", "id", "quarantined_at"),
        lambda keep, horizon: Limit(
            horizon.after(keep.quarantine_days), keep.quarantine_max_rows, keep.quarantine_max_bytes
        ),
    ),
    Retained(
        Kind(
            "batches",
            "telemetry_batches",
            "id",
            "stored_at",
            # What somebody has not followed yet.
            stays="(t.written_by, t.id) > (select read_xid, read_batch from telemetry_chain_progress)"
            " or not pg_visible_in_snapshot(t.written_by, (select view from telemetry_rollup_progress))",
        ),
        lambda _, horizon: Limit(horizon.events),
    ),
    Retained(
        Kind("reconciled", "telemetry_reconciled", "event_id", "reconciled_at"),
        lambda _, horizon: Limit(horizon.events),
    ),
    # Of one that is neither closed nor healed something may still come, or be missed; its gap goes with it.
    Retained(
        Kind(
            "producers",
            "telemetry_producers",
            "epoch",
            "heard_at",
            stays="(t.closed_at is null and t.healed_at is null)"
            " or exists (select from telemetry_gaps as g where g.epoch = t.epoch)",
        ),
        lambda _, horizon: Limit(horizon.accounts),
    ),
    Retained(
        Kind("notifications", "notifications", "id", "created_at"),
        lambda keep, horizon: Limit(
            horizon.after(keep.notifications_days), keep.notifications_max_rows, keep.notifications_max_bytes
        ),
        is_telemetry=False,
    ),
    # Changes from outside; those of executions go with them.
    Retained(
        Kind("changes", "mutations", "id", "occurred_at", stays=f"t.execution_id is not null or {_UNCOMPARED}"),
        lambda keep, horizon: Limit(min(horizon.after(keep.executions_days), horizon.events)),
        is_telemetry=False,
    ),
)
