-- Traces that go on over midnight, pinned ones, and what is to be kept of days that go (benchmarks/cleanup.py).

-- name: make_traces_go_on
-- Give the first traces after a midnight the ids of the last ones before it. params: first_id: an hour before; end_id: of
-- midnight; until_id: an hour after; traces: how many. Primary key, telemetry_events_correlation.
with earlier as (
    select correlation_id, row_number() over (order by correlation_id) as place
    from (
        select correlation_id from telemetry_events
        where event_id >= %(first_id)s and event_id < %(end_id)s and component <> 'telemetry'
        group by correlation_id
        limit %(traces)s
    ) as before
), later as (
    select correlation_id, row_number() over (order by correlation_id) as place
    from (
        select correlation_id from telemetry_events
        where event_id >= %(end_id)s and event_id < %(until_id)s and component <> 'telemetry'
        group by correlation_id
        limit %(traces)s
    ) as after
)
update telemetry_events as e
set correlation_id = earlier.correlation_id
from later
join earlier using (place)
where e.correlation_id = later.correlation_id;

-- name: pin_traces
-- Pin traces of an hour. params: first_id; end_id; pins: how many. Primary key.
insert into telemetry_pins (correlation_id)
select correlation_id from telemetry_events
where event_id >= %(first_id)s and event_id < %(end_id)s
group by correlation_id
order by correlation_id
limit %(pins)s
on conflict (correlation_id) do nothing;

-- name: expected
-- Of events before an instant, how many are kept because they are errors, and how many because their trace is: it is pinned,
-- or goes on after the instant. params: end_id. Reads everything.
with traces as (
    select correlation_id from telemetry_pins
    union
    select correlation_id from telemetry_events where event_id >= %(end_id)s
)
select
    count(*) filter (where traces.correlation_id is null and (level = 'error' or error_fingerprint is not null)),
    count(*) filter (where traces.correlation_id is not null)
from telemetry_events as e
left join traces using (correlation_id)
where event_id < %(end_id)s;

-- name: kept
-- The same of what is kept. params as above. Reads everything.
with traces as (
    select correlation_id from telemetry_pins
    union
    select correlation_id from telemetry_events where event_id >= %(end_id)s
)
select count(*) filter (where traces.correlation_id is null), count(*) filter (where traces.correlation_id is not null)
from telemetry_events_kept as e
left join traces using (correlation_id);

-- name: where
-- The data directory, and the folder of this database in its `base`.
select current_setting('data_directory'), oid::text from pg_database where datname = current_database();
