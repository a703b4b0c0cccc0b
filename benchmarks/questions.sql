-- What questions are about, and how much there is (benchmarks/questions.py). since_id, until_id: event ids, uuid.

-- name: pick_traces
-- Correlation ids of some hours, to be looked at. params: count. Primary key.
select distinct correlation_id
from (
    select correlation_id from telemetry_events
    where event_id >= %(since_id)s and event_id < %(until_id)s and component = 'command'
    limit 100 * %(count)s
) as seen
order by correlation_id
limit %(count)s;

-- name: size
-- Bytes of all stored events with their indexes, and how many there are. Reads everything.
select (select sum(pg_total_relation_size(relid)) from pg_partition_tree('telemetry_events')),
    (select count(*) from telemetry_events);
