-- Statements of workers/leases.py.

-- name: register
-- A worker that may claim, until its lease lapses; told again when the answer was lost. params: id; lane; host; process_id; lease_ms.
insert into workers (id, lane, host, process_id, lease_until)
values (%(id)s, %(lane)s, %(host)s, %(process_id)s, now() + %(lease_ms)s * interval '1 millisecond')
on conflict (id) do update set lease_until = excluded.lease_until;

-- name: renew
-- A heartbeat. No row: the worker was given up, and what it ran is another's. params: id; lease_ms. index: primary key.
update workers
set lease_until = now() + %(lease_ms)s * interval '1 millisecond'
where id = %(id)s
returning true;

-- name: listen
-- Hear of executions that somebody wants stopped.
listen weir_stops;

-- name: stops
-- Executions of a worker that somebody wants stopped; looked up one by one, for a join would read every stop there ever
-- was. params: id. index: command_executions_running, primary key.
select e.id
from command_executions as e
where e.state = 'running' and e.worker_id = %(id)s
    and (select s.reason from command_stops as s where s.execution_id = e.id) = 'cancelled';

-- name: leave
-- A worker that stops. params: id. index: primary key.
delete from workers where id = %(id)s;

-- name: give_up
-- Workers whose lease has lapsed. What they ran has no worker from now on. index: workers_by_lease.
delete from workers where lease_until < now() returning id;
