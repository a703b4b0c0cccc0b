-- Statements of workers/checkup/history.py.

-- name: checks
-- What was found, newest first. params, each none for all: component; status; since; before: id of the row after which it
-- goes on; rows. Primary key.
select id, window_at, checked_at, name, component, status, value, unit
from telemetry_health_checks
where (%(component)s::text is null or component = %(component)s::text)
    and (%(status)s::text is null or status = %(status)s::text)
    and (%(since)s::timestamptz is null or checked_at >= %(since)s::timestamptz)
    and (%(before)s::uuid is null or id < %(before)s::uuid)
order by id desc
limit %(rows)s;

-- name: snapshots
-- Performance of windows, newest first. params, each none for all: subject; name; since; before: id of the row after
-- which it goes on; rows. Primary key.
select id, window_at, window_us, subject, name, host, process_id, memory_bytes, cpu_share, threads, slots, slots_taken,
    events_waiting, events_spooled, events_dropped, clock_skew_us, queued, running, oldest_us, runs, failures, p50_us, p95_us,
    p99_us, max_us, total_us, class as rated
from telemetry_performance_snapshots
where (%(subject)s::text is null or subject = %(subject)s::text)
    and (%(name)s::text is null or name = %(name)s::text)
    and (%(since)s::timestamptz is null or window_at >= %(since)s::timestamptz)
    and (%(before)s::uuid is null or id < %(before)s::uuid)
order by id desc
limit %(rows)s;

-- name: newest
-- What the newest round found. index: telemetry_health_checks_once.
select id, window_at, checked_at, name, component, status, value, unit
from telemetry_health_checks
where window_at = (select max(window_at) from telemetry_health_checks)
order by component, name;
