-- Statements of workers/slots.py. An advisory lock is taken in a statement of its own: the next one sees what whoever
-- held it before has committed. Locks are taken in this order, so that nobody waits in a circle: lane, rows, key; after
-- the key nobody waits for a row.

-- name: something_is_due
-- Whether there is anything in a lane that a claim could have taken but did not. params: lane; worker_id.
-- index: command_executions_due.
select exists (
    select from command_executions as c
    where c.state = 'queued' and c.parked is null and c.lane = %(lane)s and c.run_at <= now()
        and (c.expires_at is null or c.expires_at > now() or c.attempt > 0)
) and not exists (
    select from flow_controls as f
    where f.kind = 'lane' and f.name = %(lane)s
        and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
) and exists (select from workers as w where w.id = %(worker_id)s and w.lease_until > now());

-- name: lane_limit
-- How many of a lane may run at once, or null. params: lane. index: primary key.
select max_running from flow_controls where kind = 'lane' and name = %(lane)s and max_running is not null;

-- name: lock_lane
-- Be the only one who counts what runs in a lane, to the end of this transaction. params: lane.
select pg_advisory_xact_lock(hashtextextended('weir lane ' || %(lane)s, 0));

-- name: running_in_lane
-- How many of a lane run. params: lane. index: command_executions_running.
select count(*) from command_executions where state = 'running' and lane = %(lane)s;

-- name: head
-- The execution that a claim of the lane would look at first; its row is locked. params: lane.
-- index: command_executions_due.
select c.id, c.slug, c.concurrency_key, c.concurrency_max, c.slot_held, exists (
    select from flow_controls as f
    where f.kind = 'command' and f.name = c.slug
        and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
) as is_paused
from command_executions as c
where c.state = 'queued' and c.parked is null and c.lane = %(lane)s and c.run_at <= now()
    and (c.expires_at is null or c.expires_at > now() or c.attempt > 0)
order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
for no key update skip locked
limit 1;

-- name: lock_key
-- Be the only one who counts those who hold places of a key, to the end of this transaction. params: slug; key.
select pg_advisory_xact_lock(hashtextextended('weir key ' || %(slug)s || ' ' || %(key)s, 0));

-- name: held
-- How many places of a key are held, as far as `max`. params: slug; key; max. index: command_executions_holders.
select count(*) from (
    select from command_executions where slug = %(slug)s and concurrency_key = %(key)s and slot_held limit %(max)s
) as holders;

-- name: take
-- Give a place to an execution. params: id. index: primary key.
update command_executions set slot_held = true where id = %(id)s and state = 'queued';

-- name: park_key
-- Look no more at this execution, and at those with its key that would be looked at soon. Under the lock of the key, all
-- of whose places are held: who gives one back wakes one of these. params: id; lane; slug; key; ahead: how far to look.
-- index: command_executions_due.
with soon as (
    select c.id, c.slug, c.concurrency_key, c.slot_held
    from command_executions as c
    where c.state = 'queued' and c.parked is null and c.lane = %(lane)s
    order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
    limit %(ahead)s
), found as (
    select c.id from command_executions as c
    where c.id in (
            select s.id from soon as s where s.slug = %(slug)s and s.concurrency_key = %(key)s and not s.slot_held
            union all
            select %(id)s::uuid
        )
        and c.state = 'queued' and c.parked is null and not c.slot_held
    for no key update skip locked
)
update command_executions as e set parked = 'concurrency' from found where e.id = found.id;

-- name: park_command
-- Look no more at this execution of a paused command, nor at the others of it that would be looked at soon. The sweeper
-- brings them back, also when the pause ended meanwhile. params: id; lane; slug; ahead. index: command_executions_due.
with soon as (
    select c.id, c.slug
    from command_executions as c
    where c.state = 'queued' and c.parked is null and c.lane = %(lane)s
    order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
    limit %(ahead)s
), found as (
    select c.id from command_executions as c
    where c.id in (select s.id from soon as s where s.slug = %(slug)s union all select %(id)s::uuid)
        and c.state = 'queued' and c.parked is null
    for no key update skip locked
)
update command_executions as e set parked = 'command' from found where e.id = found.id;

-- name: wake_next
-- Let the best one that waits for a place of a key be looked at again, if there is one for it; its lane. Under the lock
-- of the key. One that somebody has locked is about to end, and passes this on. params: slug; key.
-- index: command_executions_parked_by_key, command_executions_holders.
update command_executions as e
set parked = null
from (
    select c.id from command_executions as c
    where c.slug = %(slug)s and c.concurrency_key = %(key)s and c.state = 'queued' and c.parked = 'concurrency'
        and c.concurrency_max > (
            select count(*) from command_executions as h
            where h.slug = %(slug)s and h.concurrency_key = %(key)s and h.slot_held
        )
    order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
    for no key update skip locked
    limit 1
) as next
where e.id = next.id
returning e.lane;

-- name: unpark_commands
-- Let executions of commands that are no longer paused be looked at again; their lanes, and whether there may be more.
-- One look into the index per parked command. params: limit. index: command_executions_parked_by_command.
with recursive slugs as (
    select min(slug) as slug from command_executions where state = 'queued' and parked = 'command'
    union all
    select (
        select min(e.slug) from command_executions as e
        where e.state = 'queued' and e.parked = 'command' and e.slug > slugs.slug
    )
    from slugs
    where slugs.slug is not null
), found as (
    select c.id
    from slugs
    join command_executions as c on c.slug = slugs.slug and c.state = 'queued' and c.parked = 'command'
    where not exists (
        select from flow_controls as f
        where f.kind = 'command' and f.name = slugs.slug
            and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
    )
    for no key update of c skip locked
    limit %(limit)s
), unparked as (
    update command_executions as e set parked = null from found where e.id = found.id returning e.lane
)
select coalesce(array_agg(distinct lane), '{}') as lanes, count(*) = %(limit)s as may_be_more from unparked;

-- name: accepted
-- How many executions of a key have not ended, as far as `max`. Under the lock of the key. params: slug; key; max.
-- index: command_executions_keyed.
select count(*) from (
    select from command_executions
    where slug = %(slug)s and concurrency_key = %(key)s and finished_at is null
    limit %(max)s
) as going_on;
