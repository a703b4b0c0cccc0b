-- Statements of workers/stops.py.

-- name: request
-- Somebody wants an execution stopped; its worker hears of it. params: id. index: primary key.
with asked as (
    insert into command_stops (execution_id, reason) values (%(id)s, 'cancelled')
    on conflict (execution_id) do update set reason = excluded.reason
)
select pg_notify('weir_stops', '');

-- name: state
-- params: id. index: primary key.
select state from command_executions where id = %(id)s;

-- name: forgotten
-- Executions that somebody wants stopped, and nobody runs: their run let go of them before it heard of it, or whoever
-- waited for them has ended. params: limit. No index: a row goes when its execution has ended, so there are few.
select e.id, e.state
from command_stops as s
join command_executions as e on e.id = s.execution_id
where s.reason = 'cancelled' and e.state in ('scheduled', 'queued', 'waiting')
order by s.requested_at
limit %(limit)s;

-- name: forget
-- Stops of what has ended: all are read, for they are few; executions are looked up one by one. index: primary key.
delete from command_stops as s
where (select e.finished_at from command_executions as e where e.id = s.execution_id) is not null;

-- name: children
-- Executions that one waits for. params: id. index: command_executions_child_once.
select id, state from command_executions
where parent_id = %(id)s and link = 'child' and finished_at is null;

-- name: mark_killed
-- The process of an attempt is about to be killed, because it could not be stopped otherwise. It takes no lock of the
-- execution's row, which the attempt may hold. params: id; attempt; reason.
insert into command_stops (execution_id, reason, killed_attempt) values (%(id)s, %(reason)s, %(attempt)s)
on conflict (execution_id) do update set killed_attempt = excluded.killed_attempt;

-- name: patience
-- Wait no longer for a lock than that. params: timeout: `1s`.
select set_config('lock_timeout', %(timeout)s, true);

-- name: hold
-- An execution, and its row lock; what waits for it, or runs, in the form of a claim. params: id. index: primary key.
select e.id, e.slug, e.definition_hash, '' as source, e.lane, e.attempt, e.fence, e.user_name, s.name as space,
    e.space_id, e.request_source, e.correlation_id, e.parent_id, e.dry_run, e.inputs, e.queued_at,
    coalesce(e.started_at, e.queued_at) as started_at, 0 as waited_us, coalesce(e.queue_wait_us, 0) as queue_wait_us,
    e.running_us, e.failures, e.alone, e.failing, e.link, e.concurrency_key, e.state,
    e.worker_id
from command_executions as e
join spaces as s on s.id = e.space_id
where e.id = %(id)s
for no key update of e;

-- name: expired
-- Executions that waited too long to be begun; one that was begun once does not expire. params: limit. index: command_executions_expiring.
select e.id
from command_executions as e
where e.state in ('queued', 'scheduled') and e.attempt = 0 and e.expires_at <= now()
order by e.expires_at
limit %(limit)s;
