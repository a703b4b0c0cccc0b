-- What rules about the installation are compared with (workers.alerting.probes).

-- name: missed
-- Due times of schedules that passed unrun and were noted so within a window. params: since; until.
-- Index schedule_occurrences_newest.
select coalesce(sum(o.due_times), 0)::bigint
from schedules as s
cross join lateral (
    select due_times from schedule_occurrences
    where schedule_id = s.id and occurred_at >= %(since)s and occurred_at < %(until)s and state = 'missed'
) as o;

-- name: stuck
-- Executions that run although their worker's lease ended long ago, or was given up. params: patience: interval.
-- Indexes command_executions_running, primary key of workers.
select count(*)
from command_executions as e
where e.state = 'running' and e.started_at < now() - %(patience)s::interval
    and not exists (select from workers as w where w.id = e.worker_id and w.lease_until > now() - %(patience)s::interval);
