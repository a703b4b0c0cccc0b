-- Statements of workers/admission.py.

-- name: look
-- What waits in a lane, as far as may wait there: how many, for how long a worker could have taken the one that waits
-- longest (none in a paused lane), and the limits. Reads no more rows than the limit. params: lane; max_queued,
-- max_age_us: where nothing is set for the lane. index: command_executions_due, command_executions_parked_by_lane.
with limits as (
    select
        coalesce(max(f.max_queued), %(max_queued)s::int) as max_queued,
        coalesce(max(f.max_age_us), %(max_age_us)s::bigint) as max_age_us,
        coalesce(bool_or(f.paused_at is not null and (f.paused_until is null or f.paused_until > now())), false) as paused
    from flow_controls as f
    where f.kind = 'lane' and f.name = %(lane)s
), due as (
    select c.run_at
    from command_executions as c
    where c.state = 'queued' and c.parked is null and c.lane = %(lane)s
    order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
    limit (select max_queued from limits)
), parked as (
    select from command_executions as c
    where c.state = 'queued' and c.parked is not null and c.lane = %(lane)s
    limit (select max_queued from limits)
)
select (select count(*) from due) + (select count(*) from parked) as queued,
    case
        when l.paused then 0
        else coalesce((extract(epoch from now() - (select min(run_at) from due)) * 1000000)::bigint, 0)
    end as age_us,
    l.max_queued, l.max_age_us
from limits as l;
