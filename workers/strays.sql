-- Statements of workers/strays.py.

-- name: running
-- What a worker runs, by the rows. params: worker_id. index: command_executions_running.
select id, attempt from command_executions where state = 'running' and worker_id = %(worker_id)s;
