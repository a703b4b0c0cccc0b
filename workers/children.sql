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
