-- Statements of workers/children.py.

-- name: depth
-- How many executions are above one because a step asked for the next. id: uuid; most: look no further up.
-- Primary key, once a level.
with recursive above as (
    select parent_id, link, 0 as depth from command_executions where id = %(id)s
    union all
    select e.parent_id, e.link, a.depth + (a.link in ('child', 'follows'))::int
    from above a join command_executions e on e.id = a.parent_id
    where a.depth < %(most)s
)
select max(depth) from above;

-- name: child
-- The execution that a try of a step waits for. params: id: of the parent; path; step_try.
-- index: command_executions_child_once.
select id, state, finished_at is not null as is_final, result
from command_executions
where parent_id = %(id)s and parent_path = %(path)s and parent_try = %(step_try)s and link = 'child';

-- name: waiting
-- Definitions of an execution and of all that wait for it. params: id. Primary key, once a level.
with recursive above as (
    select parent_id, link, definition_hash from command_executions where id = %(id)s
    union all
    select e.parent_id, e.link, e.definition_hash
    from above as a join command_executions as e on e.id = a.parent_id
    where a.link = 'child'
)
select definition_hash from above;
