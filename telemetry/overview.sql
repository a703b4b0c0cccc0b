-- What went on (telemetry.overview). Filters are added there.

-- name: select_counted
-- What is counted of events; conditions follow. params: step: interval of the stretches. Range of the primary key, or whole partitions of the time asked for.
select event_type, component, outcome, level = 'error' as is_error,
    date_bin(%(step)s::interval, occurred_at, 'epoch'::timestamptz) as starts_at
from telemetry_events;
