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

-- name: seal
-- Note that these events are gone and not to be expected. params: day: text, YYYYMMDD; component: empty for all of them;
-- first_id; end_id: not included; kinds: of rows of the ledger. Primary key.
insert into telemetry_sealed (day, component, first_id, end_id, kinds)
values (to_date(%(day)s, 'YYYYMMDD'), %(component)s, %(first_id)s, %(end_id)s, %(kinds)s)
on conflict (day, component) do nothing;

-- name: pin
-- Let no cleaning take a trace. params: correlation_id. Primary key.
insert into telemetry_pins (correlation_id) values (%(correlation_id)s) on conflict (correlation_id) do nothing;

-- name: unpin
-- Treat a trace as all others. params: correlation_id. Primary key.
delete from telemetry_pins where correlation_id = %(correlation_id)s;
