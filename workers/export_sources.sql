-- Statements of workers/export_sources.py. A row counts if its transaction had ended at a position: its id is lower.
-- Rows keep that id when they are frozen: of one that is two billion transactions old the age is negative.

-- name: count_health
-- How many findings there are. params: since; until: or null; stored_before: position, as text.
select count(*) from telemetry_health_checks
where (%(since)s::timestamptz is null or checked_at >= %(since)s)
    and (%(until)s::timestamptz is null or checked_at < %(until)s)
    and age(xmin) not between 0 and age(%(stored_before)s::text::xid8::xid);

-- name: health
-- The next findings. params: as before; after: id, or null; rows. index: primary key.
select id, window_at, checked_at, name, component, status, value, unit
from telemetry_health_checks
where (%(after)s::uuid is null or id > %(after)s)
    and (%(since)s::timestamptz is null or checked_at >= %(since)s)
    and (%(until)s::timestamptz is null or checked_at < %(until)s)
    and age(xmin) not between 0 and age(%(stored_before)s::text::xid8::xid)
order by id
limit %(rows)s;

-- name: count_performance
-- How many snapshots there are. params: since; until: or null; stored_before: position, as text.
select count(*) from telemetry_performance_snapshots
where (%(since)s::timestamptz is null or window_at >= %(since)s)
    and (%(until)s::timestamptz is null or window_at < %(until)s)
    and age(xmin) not between 0 and age(%(stored_before)s::text::xid8::xid);

-- name: performance
-- The next snapshots. params: as before; after: id, or null; rows. index: primary key.
select
    id, window_at, window_us, subject, name, host, process_id, memory_bytes, cpu_share, threads, slots, slots_taken,
    events_waiting, events_spooled, events_dropped, clock_skew_us, queued, running, oldest_us, runs, failures, p50_us,
    p95_us, p99_us, max_us, total_us, class
from telemetry_performance_snapshots
where (%(after)s::uuid is null or id > %(after)s)
    and (%(since)s::timestamptz is null or window_at >= %(since)s)
    and (%(until)s::timestamptz is null or window_at < %(until)s)
    and age(xmin) not between 0 and age(%(stored_before)s::text::xid8::xid)
order by id
limit %(rows)s;
