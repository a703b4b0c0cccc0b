-- What went on (telemetry.overview). Filters are added there.

-- name: select_counted
-- What is counted of events; conditions follow. Range of the primary key, or whole partitions of the time asked for.
select
    event_type, component, outcome, level = 'error' as is_error,
    width_bucket(
        -- not `extract`, which counts in numerics: twice as slow
        date_part('epoch', occurred_at), date_part('epoch', %(since)s::timestamptz), date_part('epoch', %(until)s::timestamptz),
        %(stretches)s::integer
    ) as stretch
from telemetry_events;
