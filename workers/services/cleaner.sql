-- Statements of workers/services/cleaner.py.

-- name: server_time
-- The server's clock.
select clock_timestamp();

-- name: take_turn
-- Whether this session may clean, until it ends. params: key: bigint.
select pg_try_advisory_lock(%(key)s);

-- name: oldest_kept
-- The least id of an event that outlived its day; none if there is none. Primary key.
select event_id from telemetry_events_kept order by event_id limit 1;

-- name: is_wanted
-- Whether it is time to clean: it never came to its end, or long ago; or events take more than they may, and it was not
-- looked at for an hour. params: interval; max_bytes. Primary key; indexes pg_inherits_parent_index.
select coalesce(
    (
        select finished_at < now() - %(interval)s::interval
            or (finished_at < now() - interval '1 hour' and %(max_bytes)s < (
                select coalesce(sum(pg_total_relation_size(inhrelid)), 0)
                from pg_inherits
                where inhparent = 'telemetry_events'::regclass
            ))
        from telemetry_cleaning
    ),
    true
);

-- name: finish
-- Cleaning came to its end. Primary key.
insert into telemetry_cleaning (finished_at) values (now()) on conflict (id) do update set finished_at = now();

-- name: slice_begins
-- The least id of a slice of executions that ends before an id; none if what is left is smaller. params: before;
-- rows. Primary key.
select id from command_executions
where id < %(before)s
order by id desc
offset %(rows)s - 1 limit 1;

-- name: delete_executions
-- Executions of a slice that may go, with what belongs to them. They have ended and are too old, or too many; none of their
-- events can be missing still; the one they belong to is as old, and none belongs to them: parents go after children.
-- Returns each as it is archived, if it is, by itself and with its rows; whoever is at one of them is not waited for.
-- params: first_id: none for all; before: not included; last: of those that are too many; ended: failed: floor: instants
-- (ended before, failed ones before, all before); archived. Primary key, command_executions_by_parent.
with going as (
    select e.id, e.parent_id
    from command_executions as e
    where (%(first_id)s::uuid is null or e.id >= %(first_id)s) and e.id < %(before)s
        and e.finished_at < %(floor)s::timestamptz
        and (
            e.id <= %(last)s::uuid
            or e.finished_at < case when e.state in ('failed', 'dead') then %(failed)s::timestamptz else %(ended)s::timestamptz end
        )
        and (
            e.finished_event_id is null
            or e.finished_event_id < (select compared_until from telemetry_comparison)
        )
        and not exists (select from command_executions as c where c.parent_id = e.id)
        and not exists (
            select from command_executions as p
            where p.id = e.parent_id and (
                p.finished_at is null
                or p.finished_at >= %(floor)s::timestamptz
                or (
                    coalesce(p.id > %(last)s::uuid, true)
                    and p.finished_at >= case when p.state in ('failed', 'dead') then %(failed)s::timestamptz else %(ended)s::timestamptz end
                )
            )
        )
    for update of e skip locked
), archived as materialized (
    select to_jsonb(e) || jsonb_build_object(
        'steps', (select jsonb_agg(to_jsonb(s) order by s.ordinal) from command_steps as s where s.execution_id = e.id),
        'attempts', (
            select jsonb_agg(to_jsonb(a) order by a.attempt) from command_attempts as a where a.execution_id = e.id
        ),
        'mutations', (select jsonb_agg(to_jsonb(m) order by m.id) from mutations as m where m.execution_id = e.id),
        'items', (select jsonb_agg(to_jsonb(i) order by i.path) from command_step_items as i where i.execution_id = e.id)
    ) as whole
    from command_executions as e
    join going on going.id = e.id
    where %(archived)s
), gone as (
    delete from command_executions as e using going where e.id = going.id returning e.id
)
select (select count(*) from gone), (select array_agg(whole::text) from archived);

-- name: count_executions
-- How many executions are too old or too many, whoever belongs to whom. params: as of delete_executions.
-- Reads the table.
select count(*)
from command_executions as e
where e.finished_at < %(floor)s::timestamptz
    and (
        e.id <= %(last)s::uuid
        or e.finished_at < case when e.state in ('failed', 'dead') then %(failed)s::timestamptz else %(ended)s::timestamptz end
    )
    and (e.finished_event_id is null or e.finished_event_id < (select compared_until from telemetry_comparison));

-- name: delete_occurrences
-- Due times that are told of no more: old, of no execution that is there, not waiting, and not the last of their schedule
-- and origin, by which the next one is reckoned. None whose event may be missing still. Returns them as they are archived.
-- params: before; rows; archived. Reads the table; schedule_occurrences_newest for the last of each.
with going as (
    select o.schedule_id, o.due_at, o.origin
    from schedule_occurrences as o
    where o.occurred_at < %(before)s and o.execution_id is null and o.state <> 'waiting'
        and (o.event_id is null or o.event_id < (select compared_until from telemetry_comparison))
        and exists (
            select from schedule_occurrences as l
            where l.schedule_id = o.schedule_id and l.origin = o.origin and l.last_due_at > o.last_due_at
        )
    limit %(rows)s
), gone as (
    delete from schedule_occurrences as o using going
    where (o.schedule_id, o.due_at, o.origin) = (going.schedule_id, going.due_at, going.origin)
    returning to_jsonb(o)::text as whole
)
select (select count(*) from gone), (select array_agg(whole) from gone where %(archived)s);

-- name: count_occurrences
-- How many of them there are. params: before.
select count(*)
from schedule_occurrences as o
where o.occurred_at < %(before)s and o.execution_id is null and o.state <> 'waiting'
    and (o.event_id is null or o.event_id < (select compared_until from telemetry_comparison))
    and exists (
        select from schedule_occurrences as l
        where l.schedule_id = o.schedule_id and l.origin = o.origin and l.last_due_at > o.last_due_at
    );

-- name: delete_definitions
-- Definitions that nobody uses and that a newer one has followed. What is submitted just now is the newest.
-- params: before; rows; archived. index: command_executions_by_slug.
with going as (
    select d.hash
    from command_definitions as d
    where d.first_used_at < %(before)s
        and exists (select from command_definitions as n where n.slug = d.slug and n.first_used_at > d.first_used_at)
        and not exists (select from command_executions as e where e.slug = d.slug and e.definition_hash = d.hash)
    limit %(rows)s
), gone as (
    delete from command_definitions as d using going where d.hash = going.hash returning to_jsonb(d)::text as whole
)
select (select count(*) from gone), (select array_agg(whole) from gone where %(archived)s);

-- name: count_definitions
-- How many of them there are. params: before. index: command_executions_by_slug.
select count(*)
from command_definitions as d
where d.first_used_at < %(before)s
    and exists (select from command_definitions as n where n.slug = d.slug and n.first_used_at > d.first_used_at)
    and not exists (select from command_executions as e where e.slug = d.slug and e.definition_hash = d.hash);
