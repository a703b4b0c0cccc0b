-- Errors by their cause (telemetry.error_groups). Filters are added there.

-- name: select_failed
-- What is grouped of events; conditions follow.
select
    error_fingerprint, error_type, error_category, command_slug, step_type, correlation_id, occurred_at,
    width_bucket(
        extract(epoch from occurred_at), extract(epoch from %(since)s::timestamptz), extract(epoch from %(until)s::timestamptz),
        %(stretches)s::integer
    ) as stretch
from telemetry_events;

-- name: select_failed_kept
-- The same of those that outlived their day.
select
    error_fingerprint, error_type, error_category, command_slug, step_type, correlation_id, occurred_at,
    width_bucket(
        extract(epoch from occurred_at), extract(epoch from %(since)s::timestamptz), extract(epoch from %(until)s::timestamptz),
        %(stretches)s::integer
    ) as stretch
from telemetry_events_kept;

-- name: select_frames
-- Where errors arose, as far as it is noted. params: fingerprints: bytea[]. index: telemetry_error_frames_once.
select fingerprint, frames
from telemetry_error_frames
where fingerprint = any(%(fingerprints)s);

-- name: newest_frames
-- Which were noted last. Primary key.
select id
from telemetry_error_frames
order by id desc
limit 1;
