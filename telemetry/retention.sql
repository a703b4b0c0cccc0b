-- How long events stay (telemetry.retention).

-- name: list_days
-- The attached daily partitions, oldest first: name, events (by the last count of the server), bytes with indexes.
-- Index pg_inherits_parent_index.
select child.relname as name,
    greatest(child.reltuples::bigint, pg_stat_get_live_tuples(child.oid), 0) as events,
    pg_total_relation_size(child.oid) as bytes
from pg_inherits
join pg_class as child on child.oid = pg_inherits.inhrelid
where pg_inherits.inhparent = 'telemetry_events'::regclass and child.relname ~ '^telemetry_events_p\d{8}$'
order by child.relname;

-- name: limit_memory
-- What a sort or a hash may take until the end of the transaction; a day's traces fit.
select set_config('work_mem', '128MB', true);

-- name: make_list_of_traces
-- The traces that are kept whole, until the end of the transaction. A table of its own, for it can be counted: many more
-- seem to be than are, and a day would be read in the order of an index.
create temporary table telemetry_traces_kept (correlation_id uuid not null) on commit drop;

-- name: count_list_of_traces
-- Let the planner know how many there are.
analyze telemetry_traces_kept;

-- name: seal
-- Note that these events are gone and not to be expected. params: day: text, YYYYMMDD; component: empty for all of them;
-- first_id; end_id: not included; kinds: of rows of the ledger. Primary key.
insert into telemetry_sealed (day, component, first_id, end_id, kinds)
values (to_date(%(day)s, 'YYYYMMDD'), %(component)s, %(first_id)s, %(end_id)s, %(kinds)s)
on conflict (day, component) do nothing;

-- name: unread_minutes
-- Stretches of minutes since 1970, oldest first and apart, in which something was stored or removed that chains do not
-- tell of yet: lower; upper: not included. params: first_minute: what is before does not matter.
-- index: telemetry_batches_in_order.
select lower(span), upper(span)
from (
    select unnest((p.minutes + coalesce(b.minutes, '{}')) * int4multirange(int4range(%(first_minute)s::int, null))) as span
    from telemetry_chain_progress as p
    cross join lateral (
        select range_agg(minutes) as minutes from telemetry_batches
        where (written_by, id) > (p.read_xid, p.read_batch)
    ) as b
) as unread
order by span;

-- name: view
-- What is visible: text of a pg_snapshot.
select pg_current_snapshot()::text;

-- name: has_changed
-- Whether a batch touched a stretch of minutes that is not visible in a view. params: view: text; first; end: not included.
-- Index telemetry_batches_in_order.
select exists (
    select from telemetry_batches
    where written_by >= pg_snapshot_xmin(%(view)s::text::pg_snapshot)
        and not pg_visible_in_snapshot(written_by, %(view)s::text::pg_snapshot)
        and minutes && int4range(%(first)s::int, %(end)s::int)
);

-- name: forget_chains
-- Chains of traces that ended in a stretch of time, if none of their events is kept. params: first_id; end_id: not
-- included. index: telemetry_correlation_chains_by_end, telemetry_events_kept_correlation.
delete from telemetry_correlation_chains as c
where c.last_event_id >= %(first_id)s and c.last_event_id < %(end_id)s
    and not exists (select from telemetry_events_kept as k where k.correlation_id = c.correlation_id);

-- name: cut_chains
-- Mark chains of traces that ended in a stretch of time and of which not all events are kept. params: first_id; end_id:
-- not included; whole_from: what is kept of before counts as gone. index: primary keys.
update telemetry_correlation_chains as c
set cut = true
from (
    select correlation_id, count(*) as events from telemetry_events_kept
    where event_id >= %(whole_from)s and event_id < %(end_id)s
    group by correlation_id
) as k
where c.correlation_id = k.correlation_id and c.last_event_id >= %(first_id)s and c.last_event_id < %(end_id)s
    and not c.cut and c.events > k.events;

-- name: cut_chains_that_go_on
-- Mark chains of traces that have events before an instant and after it, but for pinned ones. params: end_id: of that
-- instant. index: telemetry_correlation_chains_newest.
update telemetry_correlation_chains as c
set cut = true
where c.first_event_id < %(end_id)s and c.last_event_id >= %(end_id)s and not c.cut
    and not exists (select from telemetry_pins as p where p.correlation_id = c.correlation_id);

-- name: pin
-- Let no cleaning take a trace. params: correlation_id. Primary key.
insert into telemetry_pins (correlation_id) values (%(correlation_id)s) on conflict (correlation_id) do nothing;

-- name: unpin
-- Treat a trace as all others. params: correlation_id. Primary key.
delete from telemetry_pins where correlation_id = %(correlation_id)s;
