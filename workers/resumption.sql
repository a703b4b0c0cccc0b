-- Statements of workers/resumption.py.

-- name: original
-- What an execution was given, and the definition that ran. params: id. index: primary key.
select e.slug, e.state, e.inputs, e.user_name, s.name as space, e.correlation_id, e.dry_run, e.priority, e.lane,
    e.definition_hash, d.source
from command_executions as e
join command_definitions as d on d.hash = e.definition_hash
join spaces as s on s.id = e.space_id
where e.id = %(id)s;

-- name: done
-- Steps of an execution that are done, in their order. params: id. index: command_steps_in_order.
select path, step_type from command_steps
where execution_id = %(id)s and outcome <> 'failed' and path not like 'on\_failure:%%'
order by ordinal;

-- name: lists
-- Paths of the map steps of an execution that had their list. params: id. index: primary key.
select path from command_step_items
where execution_id = %(id)s and path not like 'on\_failure:%%'
order by path;

-- name: take_over
-- Copy steps of an execution into the one that resumes it. params: id; original; paths. index: primary key.
insert into command_steps (
    execution_id, path, attempt, step_try, ordinal, step_type, outcome, occurred_at, duration_us, mutations_count,
    fragment_id, output, measures, restored_from
)
select %(id)s, path, 0, step_try, ordinal, step_type, outcome, occurred_at, duration_us, mutations_count,
    fragment_id, output, measures, execution_id
from command_steps
where execution_id = %(original)s and path = any(%(paths)s) and outcome <> 'failed';

-- name: take_over_items
-- Likewise the lists of map steps. params: id; original; paths. index: primary key.
insert into command_step_items (execution_id, path, items)
select %(id)s, path, items from command_step_items
where execution_id = %(original)s and path = any(%(paths)s);

-- name: close_letter
-- Take an execution that is run again out of the dead letters, if it is one and nobody has before. params: id; user_name:
-- or null; requeued_as. index: primary key.
with closed as (
    update command_executions
    set handled_at = now()
    where id = %(id)s and state in ('failed', 'dead') and handled_at is null
    returning id
)
insert into dead_letter_handlings (execution_id, action, user_name, requeued_as)
select id, 'requeued', %(user_name)s, %(requeued_as)s from closed
returning execution_id;

-- name: handled
-- What was done about a dead letter. params: id. index: primary key.
select action, requeued_as from dead_letter_handlings where execution_id = %(id)s;
