-- Chains: what became of each trace (telemetry.chains).

-- name: lock_progress
-- How far it has come, held alone until the end of the transaction; no row while somebody else holds it. Minutes are
-- since 1970. Primary key.
select lower(minutes) as first_minute,
    (select upper(piece) from unnest(minutes) as piece order by piece limit 1) as end_minute, next_event_id
from telemetry_chain_progress
for update skip locked;

-- name: number_anew
-- Of a database that was restored into a younger server, give batches ids of this server's transactions: theirs are still
-- to come here, so that whatever is stored now would be before what was read. Those that were read get one that is lower
-- than all, the others that of this transaction; how far it has come is behind the former. Nothing while nobody has an id
-- that is still to come. index: telemetry_batches_in_order.
with place as (
    select id, read_xid, read_batch
    from telemetry_chain_progress
    where read_xid >= pg_snapshot_xmax(pg_current_snapshot())
        or exists (select from telemetry_batches where written_by >= pg_snapshot_xmax(pg_current_snapshot()))
        or exists (select from telemetry_rollup_progress where pg_snapshot_xmax(view) > pg_snapshot_xmax(pg_current_snapshot()))
    for update skip locked
), rolled_up as (
    -- What roll-ups have seen is of the other server, too: they take in everything again.
    update telemetry_rollup_progress set view = '1:1:' where exists (select from place)
), numbered as (
    update telemetry_batches as b
    set written_by = case when (b.written_by, b.id) > (place.read_xid, place.read_batch) then pg_current_xact_id() else '2' end
    from place
    where b.written_by >= pg_snapshot_xmax(pg_current_snapshot())
)
update telemetry_chain_progress as p
set read_xid = '2', read_batch = 9223372036854775807
from place
where p.id = place.id;

-- name: read_batches
-- The minutes of batches that were not read yet, and of which none can come in before. Only when all others are gone
-- through: what is added to a stretch that is half gone through would be passed over. params: batches: at most.
-- index: telemetry_batches_in_order.
with unread as (
    select b.written_by, b.id, b.minutes
    from telemetry_chain_progress as p
    cross join lateral (
        select written_by, id, minutes
        from telemetry_batches
        where (written_by, id) > (p.read_xid, p.read_batch) and written_by < pg_snapshot_xmin(pg_current_snapshot())
        order by written_by, id
        limit %(batches)s
    ) as b
)
update telemetry_chain_progress
set (read_xid, read_batch) = (select written_by, id from unread order by written_by desc, id desc limit 1),
    minutes = (select coalesce(range_agg(minutes), '{}') from unread), next_event_id = null, finished_at = null
where exists (select from unread) and isempty(minutes)
returning (select count(*) from unread);

-- name: advance
-- Go on from an event within the first stretch of minutes. params: next_event_id. One row.
update telemetry_chain_progress set next_event_id = %(next_event_id)s;

-- name: leave_stretch
-- The first stretch of minutes is gone through. params: first_minute; end_minute: not included. One row.
update telemetry_chain_progress
set minutes = minutes - int4multirange(int4range(%(first_minute)s::int, %(end_minute)s::int)), next_event_id = null;

-- name: finish
-- Nothing is left. One row.
update telemetry_chain_progress set finished_at = now();

-- name: slice_end
-- The id before which a slice ends that has so many events, or so many ends of chains; none if what is left is smaller.
-- params: first_id; end_id: not included; events. index: primary key, telemetry_correlation_chains_newest, _by_end.
select least(
    (
        select event_id from telemetry_events
        where event_id >= %(first_id)s and event_id < %(end_id)s order by event_id offset %(events)s limit 1
    ),
    (
        select event_id from telemetry_events_kept
        where event_id >= %(first_id)s and event_id < %(end_id)s order by event_id offset %(events)s limit 1
    ),
    (
        select first_event_id from telemetry_correlation_chains
        where first_event_id >= %(first_id)s and first_event_id < %(end_id)s
        order by first_event_id offset %(events)s limit 1
    ),
    (
        select last_event_id from telemetry_correlation_chains
        where last_event_id >= %(first_id)s and last_event_id < %(end_id)s
        order by last_event_id offset %(events)s limit 1
    )
) as event_id;

-- name: build
-- The chain of every trace that a slice of events belongs to, made anew from all its events, and written if it differs;
-- and of every trace that began or ended there, whose events may be gone: all of them, and the chain goes; some, and it
-- stays what it was, but for what came later, and is `cut`. Of a trace that nothing is gone of, what is found holds all
-- that is known; so both are put together in the same way, whether anything is gone or not.
-- params: first_id; end_id: not included; most: events that are counted of one trace.
-- index: primary key, telemetry_events_correlation, telemetry_events_kept_correlation,
-- telemetry_correlation_chains_newest, _by_end.
with recursive touched as materialized (
    select correlation_id
    from telemetry_events
    where event_id >= %(first_id)s and event_id < %(end_id)s and component <> 'telemetry'
    union
    select correlation_id
    from telemetry_events_kept
    where event_id >= %(first_id)s and event_id < %(end_id)s and component <> 'telemetry'
    union
    select correlation_id from telemetry_correlation_chains
    where first_event_id >= %(first_id)s and first_event_id < %(end_id)s
    union
    select correlation_id from telemetry_correlation_chains
    where last_event_id >= %(first_id)s and last_event_id < %(end_id)s
), seen as materialized (
    select e.*
    from touched
    cross join lateral (
        select correlation_id, event_id, execution_id, parent_id, space_id, user_id, occurred_at, duration_us, event_type,
            component, level, request_source, command_slug, step_path, outcome
        from telemetry_events
        where correlation_id = touched.correlation_id and component <> 'telemetry'
        union all
        select correlation_id, event_id, execution_id, parent_id, space_id, user_id, occurred_at, duration_us, event_type,
            component, level, request_source, command_slug, step_path, outcome
        from telemetry_events_kept
        where correlation_id = touched.correlation_id and component <> 'telemetry'
        limit %(most)s
    ) as e
), gone as (
    delete from telemetry_correlation_chains as c
    using touched
    where c.correlation_id = touched.correlation_id
        and not exists (select from seen where seen.correlation_id = touched.correlation_id)
), executions as materialized (
    select correlation_id, execution_id, min(event_id::text)::uuid as first_id,
        (array_agg(parent_id) filter (where parent_id is not null))[1] as parent_id,
        (array_agg(command_slug order by event_id) filter (where command_slug is not null))[1] as command_slug,
        (array_agg(outcome order by event_id desc) filter (
            where event_type in ('command.execution.completed', 'command.execution.failed', 'command.execution.cancelled')
        ))[1] as outcome
    from seen
    where execution_id is not null
    group by correlation_id, execution_id
), levels as (
    select x.correlation_id, x.execution_id, x.first_id, x.command_slug, x.outcome, 1 as level
    from executions as x
    left join executions as p on p.correlation_id = x.correlation_id and p.execution_id = x.parent_id
    where p.execution_id is null
    union all
    select x.correlation_id, x.execution_id, x.first_id, x.command_slug, x.outcome, l.level + 1
    from levels as l
    join executions as x on x.correlation_id = l.correlation_id and x.parent_id = l.execution_id
    where l.level < 100
), families as (
    select correlation_id, max(level) as depth, bool_or(outcome is null) as is_open,
        bool_or(level = 1 and outcome in ('failed', 'expired', 'dead')) as has_failed,
        bool_or(level = 1 and outcome = 'cancelled') as was_cancelled,
        (array_agg(execution_id order by level, first_id))[1] as root_execution_id,
        (array_agg(command_slug order by level, first_id))[1] as command_slug
    from levels
    group by correlation_id
), totals as (
    select correlation_id, min(event_id::text)::uuid as first_event_id, max(event_id::text)::uuid as last_event_id,
        count(*) as events, count(distinct execution_id) as executions,
        count(distinct (execution_id, step_path)) filter (where component = 'dsl') as steps,
        count(*) filter (where level = 'error') as errors,
        bool_or(level = 'error' or outcome = 'failed') as has_failed,
        min(occurred_at - coalesce(duration_us, 0) * interval '1 microsecond') as started_at,
        max(occurred_at) as ended_at, count(*) >= %(most)s as truncated,
        (array_agg(command_slug order by event_id) filter (where command_slug is not null))[1] as command_slug,
        (array_agg(request_source order by event_id))[1] as request_source,
        (array_agg(user_id order by event_id) filter (where user_id is not null))[1] as user_id,
        (array_agg(space_id order by event_id) filter (where space_id is not null))[1] as space_id,
        array_agg(distinct component order by component) as components
    from seen
    group by correlation_id
)
insert into telemetry_correlation_chains as known (
    correlation_id, first_event_id, last_event_id, status, depth, events, executions, steps, errors, started_at,
    ended_at, duration_us, truncated, root_execution_id, command_slug, request_source, user_id, space_id, components
)
select t.correlation_id, t.first_event_id, t.last_event_id,
    case
        when f.correlation_id is null then case when t.has_failed then 'failed' else 'succeeded' end
        when f.is_open then 'running'
        when f.has_failed then 'failed'
        when f.was_cancelled then 'cancelled'
        else 'succeeded'
    end,
    coalesce(f.depth, 0), t.events, t.executions, t.steps, t.errors, t.started_at, t.ended_at,
    (extract(epoch from t.ended_at - t.started_at) * 1000000)::bigint, t.truncated, f.root_execution_id,
    coalesce(f.command_slug, t.command_slug), t.request_source, t.user_id, t.space_id, t.components
from totals as t
left join families as f on f.correlation_id = t.correlation_id
order by t.correlation_id
on conflict (correlation_id) do update set
    first_event_id = least(known.first_event_id, excluded.first_event_id),
    last_event_id = greatest(known.last_event_id, excluded.last_event_id),
    status = case
        when (known.cut or excluded.events < known.events) and excluded.last_event_id <= known.last_event_id
            then known.status
        else excluded.status
    end,
    depth = greatest(known.depth, excluded.depth), events = greatest(known.events, excluded.events),
    executions = greatest(known.executions, excluded.executions), steps = greatest(known.steps, excluded.steps),
    errors = greatest(known.errors, excluded.errors), started_at = least(known.started_at, excluded.started_at),
    ended_at = greatest(known.ended_at, excluded.ended_at),
    duration_us = (
        extract(
            epoch from greatest(known.ended_at, excluded.ended_at) - least(known.started_at, excluded.started_at)
        ) * 1000000
    )::bigint,
    truncated = known.truncated or excluded.truncated,
    root_execution_id = case when excluded.first_event_id <= known.first_event_id then excluded.root_execution_id else known.root_execution_id end,
    command_slug = case when excluded.first_event_id <= known.first_event_id then excluded.command_slug else known.command_slug end,
    request_source = case when excluded.first_event_id <= known.first_event_id then excluded.request_source else known.request_source end,
    user_id = case when excluded.first_event_id <= known.first_event_id then excluded.user_id else known.user_id end,
    space_id = case when excluded.first_event_id <= known.first_event_id then excluded.space_id else known.space_id end,
    components = (select array_agg(distinct each order by each) from unnest(known.components || excluded.components) as each),
    cut = known.cut or excluded.events < known.events
where (known.events, known.first_event_id, known.last_event_id, known.status)
    is distinct from (excluded.events, excluded.first_event_id, excluded.last_event_id, excluded.status);

-- name: is_wanted
-- Whether there is something to build, and it is time for that; or to number anew. params: interval.
-- index: telemetry_batches_in_order.
select not isempty(minutes)
    or read_xid >= pg_snapshot_xmax(pg_current_snapshot())
    or exists (select from telemetry_batches where written_by >= pg_snapshot_xmax(pg_current_snapshot()))
    or exists (select from telemetry_rollup_progress where pg_snapshot_xmax(view) > pg_snapshot_xmax(pg_current_snapshot()))
    or (
        coalesce(finished_at < now() - %(interval)s::interval, true)
        and exists (
            select from telemetry_batches as b
            where (b.written_by, b.id) > (p.read_xid, p.read_batch)
                and b.written_by < pg_snapshot_xmin(pg_current_snapshot())
        )
    )
from telemetry_chain_progress as p;

-- name: page
-- Chains, newest first. params, each none for all: status; correlation_id; first_id, end_id (not included): of the first
-- event; before: the first event of the chain after which it goes on; rows. index: _newest or _by_status, primary key.
select * from telemetry_correlation_chains
where (%(status)s::text is null or status = %(status)s::text)
    and (%(correlation_id)s::uuid is null or correlation_id = %(correlation_id)s::uuid)
    and (%(first_id)s::uuid is null or first_event_id >= %(first_id)s::uuid)
    and (%(end_id)s::uuid is null or first_event_id < %(end_id)s::uuid)
    and (%(before)s::uuid is null or first_event_id < %(before)s::uuid)
order by first_event_id desc
limit %(rows)s;
