-- Statements of workers/queues.py.

-- name: queues
-- How lanes are: every one that is declared, or that something is in, works for, or is set of. Reads all that is queued.
-- params: declared: text[]; lane: or null for all. index: command_executions_due, _parked_by_lane, _later, _running.
with recursive due_lanes as (
    select min(lane) as lane from command_executions where state = 'queued' and parked is null
    union all
    select (
        select min(e.lane) from command_executions as e
        where e.state = 'queued' and e.parked is null and e.lane > due_lanes.lane
    )
    from due_lanes
    where due_lanes.lane is not null
), running as (
    select lane, count(*) as number from command_executions where state = 'running' group by lane
), scheduled as (
    select lane, count(*) as number from command_executions where state = 'scheduled' group by lane
), parked as (
    select lane, count(*) as number, min(run_at) as oldest
    from command_executions
    where state = 'queued' and parked is not null
    group by lane
), alive as (
    select lane, count(*) as number from workers where lease_until > now() group by lane
), lanes as (
    select unnest(%(declared)s::text[]) as lane
    union select lane from due_lanes
    union select lane from parked
    union select lane from running
    union select lane from scheduled
    union select lane from alive
    union select name from flow_controls where kind = 'lane'
)
select l.lane, d.number + coalesce(p.number, 0) as queued, d.number as due, coalesce(s.number, 0) as scheduled,
    coalesce(r.number, 0) as running, coalesce(a.number, 0) as workers,
    case
        when least(d.oldest, p.oldest) is not null
            then (extract(epoch from greatest(interval '0', now() - least(d.oldest, p.oldest))) * 1000)::float8
    end as oldest_age_ms,
    f.paused_at, f.paused_by, f.paused_until, c.max_running, c.max_queued, c.max_age_us
from lanes as l
cross join lateral (
    select count(*) as number, min(run_at) as oldest
    from command_executions
    where state = 'queued' and parked is null and lane = l.lane
) as d
left join parked as p on p.lane = l.lane
left join running as r on r.lane = l.lane
left join scheduled as s on s.lane = l.lane
left join alive as a on a.lane = l.lane
left join flow_controls as c on c.kind = 'lane' and c.name = l.lane
left join flow_controls as f on f.kind = 'lane' and f.name = l.lane
    and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
where l.lane is not null and (%(lane)s::text is null or l.lane = %(lane)s::text)
order by l.lane;

-- name: pauses
-- Paused commands. params: name: or null for all. index: primary key.
select name, paused_at, paused_by, paused_until
from flow_controls
where kind = 'command' and (%(name)s::text is null or name = %(name)s::text)
    and paused_at is not null and (paused_until is null or paused_until > now())
order by name;

-- name: pause
-- Begin nothing of a lane or a command; paused again, the last one counts. params: kind; name; by; until: or null.
-- index: primary key.
insert into flow_controls as f (kind, name, paused_at, paused_by, paused_until)
values (%(kind)s, %(name)s, now(), %(by)s, %(until)s)
on conflict (kind, name) do update
set paused_at = excluded.paused_at, paused_by = excluded.paused_by, paused_until = excluded.paused_until,
    updated_at = now();

-- name: resume
-- Go on with a lane or a command. params: kind; name. index: primary key.
update flow_controls
set paused_at = null, paused_by = null, paused_until = null, updated_at = now()
where kind = %(kind)s and name = %(name)s;

-- name: limit
-- Set the limits of a lane; those that are null are none. params: lane; max_running; max_queued; max_age_us.
-- index: primary key.
insert into flow_controls as f (kind, name, max_running, max_queued, max_age_us)
values ('lane', %(lane)s, %(max_running)s, %(max_queued)s, %(max_age_us)s)
on conflict (kind, name) do update
set max_running = excluded.max_running, max_queued = excluded.max_queued, max_age_us = excluded.max_age_us,
    updated_at = now();

-- name: forget
-- A row that says nothing. params: kind; name. index: primary key.
delete from flow_controls
where kind = %(kind)s and name = %(name)s
    and num_nonnulls(paused_at, max_running, max_queued, max_age_us) = 0;
