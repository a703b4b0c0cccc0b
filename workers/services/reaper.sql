-- Statements of workers/services/reaper.py.

-- name: orphans
-- Executions whose worker is gone, and how many that one ran. Whoever still believes in his claim may hold the lock of
-- one: then it is there at the next look. Stops are looked up one by one, for a join would read every stop there ever was. One that took too long is ended if its
-- worker was killed for this attempt, not for one before.
-- params: limit. index: command_executions_running, primary key.
select e.id, e.slug, e.definition_hash, '' as source, e.lane, e.attempt, e.fence, e.user_name, s.name as space,
    e.space_id, e.request_source, e.correlation_id, e.parent_id, e.dry_run, e.inputs, e.queued_at, e.started_at,
    0 as waited_us, e.queue_wait_us, e.running_us, e.failures, e.alone, e.failing, e.link, e.concurrency_key, e.worker_id,
    e.deaths, e.deaths_alone,
    (
        select count(*) from command_executions as o where o.state = 'running' and o.worker_id = e.worker_id
    ) as together,
    (
        select c.reason from command_stops as c
        where c.execution_id = e.id and (c.reason = 'cancelled' or c.killed_attempt = e.attempt)
    ) as stop,
    exists (select from command_stops as c where c.execution_id = e.id and c.killed_attempt = e.attempt) as killed,
    position('on_failure' in d.source) > 0 as cleans_up
from command_executions as e
join command_definitions as d on d.hash = e.definition_hash
join spaces as s on s.id = e.space_id
where e.state = 'running'
    and not exists (select from workers as w where w.id = e.worker_id and w.lease_until >= now())
order by e.id
for no key update of e skip locked
limit %(limit)s;

-- name: bury
-- One more death. params: id; fence; deaths; deaths_alone; alone. index: primary key.
update command_executions
set deaths = %(deaths)s, deaths_alone = %(deaths_alone)s, alone = %(alone)s
where id = %(id)s and fence = %(fence)s and state = 'running';

-- name: clock
-- The database's clock.
select now();

-- name: shorten
-- After the database's clock was set back: no lease lasts longer than one that is renewed now. Who is well renews his
-- before it ends. params: lease_ms. index: workers_by_lease.
update workers
set lease_until = now() + %(lease_ms)s * interval '1 millisecond'
where lease_until > now() + %(lease_ms)s * interval '1 millisecond';

-- name: hasten
-- Likewise: what is queued is due. index: command_executions_due.
update command_executions set run_at = now() where state = 'queued' and run_at > now();
