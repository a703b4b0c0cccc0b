-- What a trace is found by, and what its executions are doing (workers.traces).

-- name: find
-- The trace that an id belongs to, and what the id is: of an execution, of the trace itself, of an event, or of a fragment
-- (then the trace of its newest change). params: id. index: primary keys, the correlation ids of events,
-- mutations_by_entity.
with found as (
    select 1 as place, 'execution' as found_by, correlation_id from command_executions where id = %(id)s
    union all
    (select 2, 'correlation_id', correlation_id from telemetry_events where correlation_id = %(id)s limit 1)
    union all
    (select 3, 'event', correlation_id from telemetry_events where event_id = %(id)s)
    union all
    (
        select 4, 'fragment', correlation_id from mutations
        where entity = 'fragment' and entity_id = %(id)s and not dry_run
        order by id desc
        limit 1
    )
)
select found_by, correlation_id from found order by place limit 1;

-- name: executions
-- Executions of a trace, and those of other traces that they come from or that come from them, in the order they were
-- accepted. `is_lost`: its worker is not heard of any more. params: id; limit. index:
-- command_executions_by_correlation, command_executions_by_parent, primary keys.
with own as (
    select id, parent_id from command_executions where correlation_id = %(id)s order by id limit %(limit)s
), wanted as (
    select id from own
    union
    select parent_id from own where parent_id is not null
    union
    (select e.id from own join command_executions as e on e.parent_id = own.id limit %(limit)s)
)
select e.id, e.slug, e.state, e.link, e.parent_id, e.schedule_id, e.correlation_id, e.attempt, e.dry_run,
    e.state = 'running' and not exists (
        select from workers as w where w.id = e.worker_id and w.lease_until >= now()
    ) as is_lost
from command_executions as e
where e.id in (select id from wanted)
order by e.id;
