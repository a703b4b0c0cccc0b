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

-- name: count_events
-- How many events there are; conditions follow.
select count(*) from telemetry_events;

-- name: count_kept
-- The same of those that outlived their day.
select count(*) from telemetry_events_kept;

-- name: find_correlation
-- Correlation id of an execution. execution_id: uuid. Primary key of command_executions.
select correlation_id from command_executions where id = %(execution_id)s;

-- name: position
-- Id of the oldest transaction that runs, as text: whatever is lower has ended.
select pg_snapshot_xmin(pg_current_snapshot())::text;

-- name: end_position
-- Id of the next transaction, as text: whatever is higher has not begun.
select pg_snapshot_xmax(pg_current_snapshot())::text;

-- name: minutes_touched_after
-- Spans of minutes since 1970 that batches since then hold events of: [lower, upper). stored_after: integer, a position.
-- Index telemetry_batches_in_order.
select lower(span), upper(span)
from (
    select unnest(range_agg(minutes)) as span from telemetry_batches
    where written_by >= %(stored_after)s::text::xid8
) as touched;
