-- Daily partitions of telemetry_events, named telemetry_events_pYYYYMMDD.

-- name: limit_waiting
-- How long any lock is waited for until the end of the transaction. timeout: text with unit.
select set_config('lock_timeout', %(timeout)s, true);

-- name: lock_partitions
-- One maker at a time until the end of the transaction. key: bigint.
select pg_advisory_xact_lock(%(key)s);

-- name: list_partitions
-- Names of the attached partitions, oldest day first. Index pg_inherits_parent_index.
select child.relname
from pg_inherits
join pg_class as child on child.oid = pg_inherits.inhrelid
where pg_inherits.inhparent = 'telemetry_events'::regclass
order by child.relname;
