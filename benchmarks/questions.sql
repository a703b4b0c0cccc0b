-- What people ask of the telemetry, where telemetry has no function for it yet (benchmarks/questions.py). All of the
-- time: since_id, until_id: event ids, uuid; since, until: instants.

-- name: command_percentiles
-- Durations of whole executions, by command. Reads the partitions of that time.
select command_slug, count(*) as executions, max(duration_us) as max_us,
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_us) as percentiles_us
from telemetry_events
where event_id >= %(since_id)s and event_id < %(until_id)s
    and event_type in ('command.execution.completed', 'command.execution.failed')
group by command_slug
order by executions desc;

-- name: overview
-- How many events of each component, and how many of them failed. Reads the partitions of that time.
select component, count(*) as events, count(*) filter (where level = 'error') as errors,
    count(distinct correlation_id) filter (where component = 'command') as traces
from telemetry_events
where event_id >= %(since_id)s and event_id < %(until_id)s
group by component
order by events desc;

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
