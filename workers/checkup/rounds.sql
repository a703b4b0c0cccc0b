-- Statements of workers/checkup/rounds.py.

-- name: is_wanted
-- Whether nothing is stored of the current window. params: interval. index: telemetry_health_checks_once.
select not exists (
    select from telemetry_health_checks
    where window_at = date_bin(%(interval)s::interval, now(), timestamptz '2000-01-01 00:00:00+00')
);

-- name: window
-- When the current window began. params: interval.
select date_bin(%(interval)s::interval, now(), timestamptz '2000-01-01 00:00:00+00');

-- name: store
-- How everything is; nothing if the window has a round already. Whoever comes second waits for the first, and finds its rows.
-- params: window_at; ids, names, components, statuses, values, units: arrays, one element a finding.
-- index: telemetry_health_checks_once.
insert into telemetry_health_checks (id, window_at, checked_at, name, component, status, value, unit)
select f.id, %(window_at)s, now(), f.name, f.component, f.status, f.value, f.unit
from unnest(
    %(ids)s::uuid[], %(names)s::text[], %(components)s::text[], %(statuses)s::text[], %(values)s::float8[], %(units)s::text[]
) as f (id, name, component, status, value, unit)
order by f.name, f.component
on conflict (window_at, name, component) do nothing;

-- name: measure_durations
-- How long executions and steps of a window took, by command and by step type. Percentiles are nearest rank.
-- params: window_at; window_us; first_id, end_id (not included); fast_us, slow_us, critical_us: limits of the classes.
-- index: primary key of telemetry_events, telemetry_performance_snapshots_once.
insert into telemetry_performance_snapshots (
    id, window_at, window_us, subject, name, runs, failures, p50_us, p95_us, p99_us, max_us, total_us, class
)
select overlay(%(first_id)s::uuid::text placing substr(gen_random_uuid()::text, 20) from 20)::uuid, %(window_at)s,
    %(window_us)s, subject, name, runs, failures, figures[1], figures[2], figures[3], max_us, total_us,
    case
        when figures[2] >= %(critical_us)s then 'critical'
        when figures[2] >= %(slow_us)s then 'slow'
        when figures[2] < %(fast_us)s then 'fast'
        else 'normal'
    end
from (
    select case when component = 'dsl' then 'step_type' else 'command' end as subject,
        case when component = 'dsl' then step_type else command_slug end as name,
        count(*) as runs, count(*) filter (where outcome in ('failed', 'expired', 'dead')) as failures,
        percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_us) as figures,
        max(duration_us) as max_us, sum(duration_us)::bigint as total_us
    from telemetry_events
    where event_id >= %(first_id)s and event_id < %(end_id)s and duration_us is not null and event_type in (
        'command.execution.completed', 'command.execution.failed', 'command.execution.cancelled', 'dsl.step.executed',
        'dsl.step.failed'
    )
    group by 1, 2
) as measured
where name is not null
on conflict (window_at, subject, name, host, process_id) do nothing;

-- name: measure_lanes
-- How much waits and runs in each lane that something is in. params: window_at; window_us; first_id.
-- index: command_executions_due, command_executions_running; reads all that is queued and runs.
insert into telemetry_performance_snapshots (id, window_at, window_us, subject, name, queued, running, oldest_us)
select overlay(%(first_id)s::uuid::text placing substr(gen_random_uuid()::text, 20) from 20)::uuid, %(window_at)s,
    %(window_us)s, 'lane', lane, count(*) filter (where state = 'queued'), count(*) filter (where state = 'running'),
    greatest(0, extract(epoch from now() - min(run_at) filter (where state = 'queued')) * 1000000)::bigint
from command_executions
where state in ('queued', 'running')
group by lane
on conflict (window_at, subject, name, host, process_id) do nothing;

-- name: forget_checks
-- Check-ups that are too old. params: kept: interval; rows: at most. index: telemetry_health_checks_once.
delete from telemetry_health_checks
where id in (
    select id from telemetry_health_checks where window_at < now() - %(kept)s::interval order by window_at limit %(rows)s
);

-- name: forget_snapshots
-- Performance snapshots that are too old. params: kept: interval; rows: at most.
-- index: telemetry_performance_snapshots_once.
delete from telemetry_performance_snapshots
where id in (
    select id from telemetry_performance_snapshots
    where window_at < now() - %(kept)s::interval order by window_at limit %(rows)s
);
