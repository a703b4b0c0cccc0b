-- Statements of workers/dead_letters.py. A dead letter is an execution that ended as `dead` or `failed`, that nobody has
-- dealt with, that was no dry run, and that no step waited for.

-- name: page
-- Dead letters, that which ended last first. params: states; before: id of the last one seen, or null; slug, fingerprint, lane, start,
-- end: or null; limit. index: command_executions_dead_letters once for each state, or _by_cause.
select e.id, e.slug, e.state, e.lane, e.priority, e.user_name, e.correlation_id, e.parent_id, e.link, e.dry_run,
    e.error, e.error ->> 'fingerprint' as fingerprint, e.attempt, e.failures, e.deaths, e.deaths_alone, e.queued_at,
    e.started_at, e.finished_at,
    coalesce(e.error ->> 'step', (
        select s.path from command_steps as s
        where s.execution_id = e.id and not starts_with(s.path, 'on_failure:')
        order by s.ordinal desc
        limit 1
    )) as last_step,
    null as action, null as handled_by, null as handled_at, null as requeued_as
from unnest(%(states)s::text[]) as wanted (state)
cross join lateral (
    select c.* from command_executions as c
    where c.state = wanted.state and c.state in ('failed', 'dead') and c.handled_at is null and not c.dry_run
        and c.link is distinct from 'child'
        and (
            %(before)s::uuid is null
            or (c.finished_at, c.id) < (
                select b.finished_at, b.id from command_executions as b where b.id = %(before)s::uuid
            )
        )
        and (%(slug)s::text is null or c.slug = %(slug)s::text)
        and (%(fingerprint)s::text is null or c.error ->> 'fingerprint' = %(fingerprint)s::text)
        and (%(lane)s::text is null or c.lane = %(lane)s::text)
        and (%(start)s::timestamptz is null or c.finished_at >= %(start)s::timestamptz)
        and (%(end)s::timestamptz is null or c.finished_at < %(end)s::timestamptz)
    order by c.finished_at desc, c.id desc
    limit %(limit)s
) as e
order by e.finished_at desc, e.id desc
limit %(limit)s;

-- name: causes
-- Dead letters by command and cause, that with the newest letter first. params: states; before: newest id of the last one
-- seen, or null; slug, fingerprint, lane, start, end: or null; limit. index: command_executions_dead_letters.
with causes as (
    select c.slug, c.error ->> 'fingerprint' as fingerprint, count(*) as letters,
        count(*) filter (where c.state = 'dead') as dead, min(c.finished_at) as first_at, max(c.finished_at) as last_at,
        max(c.id::text)::uuid as newest_id
    from command_executions as c
    where c.state = any(%(states)s) and c.state in ('failed', 'dead') and c.handled_at is null and not c.dry_run
        and c.link is distinct from 'child'
        and (%(slug)s::text is null or c.slug = %(slug)s::text)
        and (%(fingerprint)s::text is null or c.error ->> 'fingerprint' = %(fingerprint)s::text)
        and (%(lane)s::text is null or c.lane = %(lane)s::text)
        and (%(start)s::timestamptz is null or c.finished_at >= %(start)s::timestamptz)
        and (%(end)s::timestamptz is null or c.finished_at < %(end)s::timestamptz)
    group by 1, 2
)
select g.slug, g.fingerprint, g.letters, g.dead, g.first_at, g.last_at, g.newest_id, n.error
from causes as g
join command_executions as n on n.id = g.newest_id
where %(before)s::uuid is null or g.newest_id < %(before)s::uuid
order by g.newest_id desc
limit %(limit)s;

-- name: matching
-- Ids of dead letters, oldest first, and how many there are of them from there on. params: states; after: id of the last
-- one dealt with, or null; up_to: id of the newest one meant, or null; slug, fingerprint, lane, start, end, ids: or null;
-- limit. index: command_executions_dead_letters.
select c.id, count(*) over () as letters
from command_executions as c
where c.state = any(%(states)s) and c.state in ('failed', 'dead') and c.handled_at is null and not c.dry_run
    and c.link is distinct from 'child'
    and (%(after)s::uuid is null or c.id > %(after)s::uuid)
    and (%(up_to)s::uuid is null or c.id <= %(up_to)s::uuid)
    and (%(slug)s::text is null or c.slug = %(slug)s::text)
    and (%(fingerprint)s::text is null or c.error ->> 'fingerprint' = %(fingerprint)s::text)
    and (%(lane)s::text is null or c.lane = %(lane)s::text)
    and (%(start)s::timestamptz is null or c.finished_at >= %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or c.finished_at < %(end)s::timestamptz)
    and (%(ids)s::uuid[] is null or c.id = any(%(ids)s::uuid[]))
order by c.id
limit %(limit)s;

-- name: newest
-- The newest dead letter there is. params: states. index: command_executions_dead_letters.
select max(c.id::text)::uuid as id
from command_executions as c
where c.state = any(%(states)s) and c.state in ('failed', 'dead') and c.handled_at is null and not c.dry_run
    and c.link is distinct from 'child';

-- name: get
-- One execution that ended as a dead letter, or might have, and what became of it. params: id. index: primary key.
select e.id, e.slug, e.state, e.lane, e.priority, e.user_name, e.correlation_id, e.parent_id, e.link, e.dry_run,
    e.error, e.error ->> 'fingerprint' as fingerprint, e.attempt, e.failures, e.deaths, e.deaths_alone, e.queued_at,
    e.started_at, e.finished_at,
    coalesce(e.error ->> 'step', (
        select s.path from command_steps as s
        where s.execution_id = e.id and not starts_with(s.path, 'on_failure:')
        order by s.ordinal desc
        limit 1
    )) as last_step,
    h.action, h.user_name as handled_by, h.handled_at, h.requeued_as
from command_executions as e
left join dead_letter_handlings as h on h.execution_id = e.id
where e.id = %(id)s;

-- name: drop
-- Take dead letters out of the list, and say who did. Those that somebody else has dealt with meanwhile are left out.
-- params: ids; user_name. index: primary key.
with dropped as (
    update command_executions
    set handled_at = now()
    where id = any(%(ids)s) and state in ('failed', 'dead') and handled_at is null
    returning id
)
insert into dead_letter_handlings (execution_id, action, user_name)
select id, 'dropped', %(user_name)s from dropped
returning execution_id;
