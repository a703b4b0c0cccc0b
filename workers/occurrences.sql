-- Statements of workers/occurrences.py. All but the first two are run by whoever holds the schedule's row lock.

-- name: next_due
-- The schedule that is to be acted on first, unless somebody does already. params: now; but: uuid[]. index: schedules_due.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id
where s.removed_at is null and s.paused_at is null and s.wake_at <= %(now)s and s.id <> all(%(but)s)
order by s.wake_at
for no key update of s skip locked
limit 1;

-- name: look
-- When the next schedule is to be acted on, whether anything waits for its turn, and what time it is: what every tick
-- asks.
-- index: schedules_due, schedule_occurrences_waiting.
select (select min(wake_at) from schedules where removed_at is null and paused_at is null),
    exists (select from schedule_occurrences where state = 'waiting'), clock_timestamp();

-- name: waiting_schedules
-- Schedules with occurrences whose turn has come: none of their executions is still going on.
-- index: schedule_occurrences_waiting, command_executions_by_schedule.
select distinct o.schedule_id
from schedule_occurrences as o
join schedules as s on s.id = o.schedule_id and s.paused_at is null and s.removed_at is null
where o.state = 'waiting'
    and not exists (
        select from command_executions as e
        where e.schedule_id = o.schedule_id
            and e.state not in ('succeeded', 'failed', 'cancelled', 'expired', 'dead')
    );

-- name: lock
-- One schedule, unless somebody else deals with it. params: id. Primary key.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id
where s.id = %(id)s
for no key update of s skip locked;

-- name: advance
-- Where to go on. params: id; next_due_at, wake_at: or null when there is no more. Primary key.
update schedules set next_due_at = %(next_due_at)s, wake_at = %(wake_at)s where id = %(id)s;

-- name: pause
-- No due time is run from now on. params: id; now; reason. Primary key.
update schedules set paused_at = %(now)s, pause_reason = %(reason)s, updated_at = %(now)s where id = %(id)s;

-- name: going_on
-- Whether an execution of the schedule is not final. params: schedule_id. index: command_executions_by_schedule.
select exists (
    select from command_executions
    where schedule_id = %(schedule_id)s and state not in ('succeeded', 'failed', 'cancelled', 'expired', 'dead')
);

-- name: waiting_count
-- How many occurrences wait for their turn. params: schedule_id. index: schedule_occurrences_waiting.
select count(*) from schedule_occurrences where schedule_id = %(schedule_id)s and state = 'waiting';

-- name: first_waiting
-- The occurrence whose turn it is. params: schedule_id. index: schedule_occurrences_waiting.
select due_at, origin, fire_at from schedule_occurrences
where schedule_id = %(schedule_id)s and state = 'waiting'
order by due_at
limit 1;

-- name: told_until
-- The last due time that has a row; run nows aside. Whatever the clock says, no due time up to it comes again.
-- params: schedule_id. index: schedule_occurrences_told.
select max(last_due_at) from schedule_occurrences where schedule_id = %(schedule_id)s and origin <> 'manual';

-- name: insert
-- What became of a due time. params: the columns. Primary key: once.
insert into schedule_occurrences (
    schedule_id, due_at, origin, state, reason, last_due_at, due_times, fire_at, occurred_at, lateness_us, execution_id,
    slug, definition_hash, user_name, space_id, correlation_id, event_id
) values (
    %(schedule_id)s, %(due_at)s, %(origin)s, %(state)s, %(reason)s, %(last_due_at)s, %(due_times)s, %(fire_at)s,
    %(occurred_at)s, %(lateness_us)s, %(execution_id)s, %(slug)s, %(definition_hash)s, %(user_name)s, %(space_id)s,
    %(correlation_id)s, %(event_id)s
);

-- name: release
-- What became of an occurrence that waited. params: the columns. Primary key.
update schedule_occurrences
set state = %(state)s, reason = %(reason)s, occurred_at = %(occurred_at)s, lateness_us = %(lateness_us)s,
    execution_id = %(execution_id)s, slug = %(slug)s, definition_hash = %(definition_hash)s,
    user_name = %(user_name)s, space_id = %(space_id)s, correlation_id = %(correlation_id)s, event_id = %(event_id)s
where schedule_id = %(schedule_id)s and due_at = %(due_at)s and origin = %(origin)s and state = 'waiting';

-- name: still_waiting
-- Every occurrence that waits. params: schedule_id. index: schedule_occurrences_waiting.
select due_at, origin, fire_at from schedule_occurrences
where schedule_id = %(schedule_id)s and state = 'waiting'
order by due_at;

-- name: failures
-- How many of the last so many occurrences that ended, ended badly; those that could not be submitted count.
-- params: schedule_id; since; most. index: schedule_occurrences_newest, primary key of executions.
select count(*) filter (where failed) from (
    select coalesce(e.state <> 'succeeded', true) as failed
    from schedule_occurrences as o
    left join command_executions as e on e.id = o.execution_id
    where o.schedule_id = %(schedule_id)s and o.occurred_at >= %(since)s
        and (
            e.state in ('succeeded', 'failed', 'expired', 'dead')
            or o.reason in ('command_unknown', 'command_invalid', 'inputs_invalid', 'secrets_missing')
        )
    order by o.occurred_at desc, o.due_at desc
    limit %(most)s
) as ended;
