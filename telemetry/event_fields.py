"""What an event has, in the order of its JSON (`telemetry.query.event_json`)."""

from __future__ import annotations

EVENT_FIELDS = (
    "event_id", "occurred_at", "event_type", "component", "operation", "level", "correlation_id", "execution_id",
    "parent_id", "step_path", "step_id", "step_type", "command_slug", "definition_hash", "user_id", "space_id",
    "request_source", "dry_run", "attempt", "try", "duration_ms", "outcome", "error_type", "error_category",
    "error_fingerprint", "fragment_id", "mutations_count", "measures",
)  # fmt: skip
