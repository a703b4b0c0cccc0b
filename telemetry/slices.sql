-- Tables that are cleaned in slices (telemetry.slices).

-- name: size
-- Rows of a table, by the last count of the server, and its bytes with indexes; no row if there is no such table.
-- params: table.
select greatest(reltuples::bigint, pg_stat_get_live_tuples(oid), 0), pg_total_relation_size(oid)
from pg_class
where oid = to_regclass(%(table)s);
