-- Reading events. Filters are added by telemetry.query.

-- name: select_events
-- All columns of events; conditions, order and limit follow.
select
    event_id, occurred_at, event_type, component, operation, level, correlation_id, execution_id, parent_id,
    step_path, step_type, command_slug, definition_hash, user_id, space_id, request_source, dry_run, attempt, step_try,
    duration_us, outcome, error_type, error_category, error_fingerprint, fragment_id, mutations_count, measures
from telemetry_events;

-- name: select_kept
-- The same of those that outlived their day.
select
    event_id, occurred_at, event_type, component, operation, level, correlation_id, execution_id, parent_id,
    step_path, step_type, command_slug, definition_hash, user_id, space_id, request_source, dry_run, attempt, step_try,
    duration_us, outcome, error_type, error_category, error_fingerprint, fragment_id, mutations_count, measures
from telemetry_events_kept;

-- name: find_correlation
-- Correlation id of an execution. execution_id: uuid. Primary key of command_executions.
select correlation_id from command_executions where id = %(execution_id)s;
