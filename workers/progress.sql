-- Statements of workers/progress.py.

-- name: marks
-- What changes whenever there is news of an execution. params: ids. index: primary keys.
select e.id, e.state, e.attempt,
    (select count(*) from command_steps as s where s.execution_id = e.id) as steps
from command_executions as e
where e.id = any(%(ids)s::uuid[]);

-- name: state
-- Where an execution stands. params: id. index: primary key.
select state, attempt, run_at, started_at, finished_at from command_executions where id = %(id)s;

-- name: news
-- Ledger rows that were not told yet: those between others that were, and those after. One statement, so one moment.
-- params: id; open: ordinals; after: ordinal; limit. index: command_steps_in_order.
(
    select path, step_type, outcome, attempt, step_try, ordinal, occurred_at, duration_us, mutations_count, fragment_id,
        output, error, measures
    from command_steps
    where execution_id = %(id)s and ordinal = any(%(open)s::integer[])
)
union all
(
    select path, step_type, outcome, attempt, step_try, ordinal, occurred_at, duration_us, mutations_count, fragment_id,
        output, error, measures
    from command_steps
    where execution_id = %(id)s and ordinal > %(after)s
    order by ordinal
    limit %(limit)s
)
order by ordinal;
