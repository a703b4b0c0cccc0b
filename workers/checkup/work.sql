-- Statements of workers/checkup/work.py.

-- name: stuck
-- Executions that run although their worker's lease ended long ago, or was given up. params: patience: interval.
-- index: command_executions_running, primary key of workers.
select count(*)
from command_executions as e
where e.state = 'running' and e.started_at < now() - %(patience)s::interval
    and not exists (select from workers as w where w.id = e.worker_id and w.lease_until > now() - %(patience)s::interval);

-- name: forsaken
-- Lanes in which something is due for half a minute, and that no worker takes from; paused ones are left alone on purpose.
-- index: command_executions_due, workers_by_lease.
with recursive lanes as (
    select min(lane) as lane from command_executions where state = 'queued' and parked is null
    union all
    select (
        select min(e.lane) from command_executions as e
        where e.state = 'queued' and e.parked is null and e.lane > lanes.lane
    )
    from lanes
    where lanes.lane is not null
)
select l.lane
from lanes as l
where l.lane is not null
    and not exists (select from workers as w where w.lane = l.lane and w.lease_until > now())
    and not exists (
        select from flow_controls as f
        where f.kind = 'lane' and f.name = l.lane and f.paused_at is not null
            and (f.paused_until is null or f.paused_until > now())
    )
    and exists (
        select from command_executions as e
        where e.state = 'queued' and e.parked is null and e.lane = l.lane and e.run_at < now() - interval '30 seconds'
    )
order by l.lane;

-- name: told
-- Kinds of processes that told of themselves lately. params: back: interval.
-- index: telemetry_performance_snapshots_once.
select distinct name from telemetry_performance_snapshots
where window_at > now() - %(back)s::interval and subject = 'process';

-- name: age
-- How long ago the last check-up that is stored was; no row before the first. index: telemetry_health_checks_once.
select now() - checked_at from telemetry_health_checks order by window_at desc limit 1;
