-- Parts: what a bucket is folded from, in one shape whatever they come from (telemetry.rollups.parts). Each has the key,
-- what it adds to the sums, and how many values it adds to which bin.

-- name: of_events
-- Parts of events, one for each measure that the event has; conditions on `e` follow. Of an event without a duration its
-- part for that has no value, so that it is counted. params: width: interval of the buckets. Reads the given partitions.
select date_bin(%(width)s::interval, e.occurred_at, 'epoch'::timestamptz) as starts_at,
    e.component, e.event_type, e.level, e.dry_run,
    case e.event_type when 'http.request.completed' then concat_ws(' ', e.measures->>'method', e.operation)
        else e.operation end as operation,
    e.outcome, e.error_category, e.space_id, e.user_id, m.measure,
    1::bigint as events, (e.level = 'error')::integer::bigint as errors, (m.value is not null)::integer::bigint as measured,
    coalesce(m.value, 0)::bigint as total, m.value as least, m.value as greatest, e.occurred_at as last_at,
    5::smallint as scale, histogram_bin(m.value) as bin, (m.value is not null)::integer::bigint as count
from telemetry_events as e
cross join lateral (
    select 'duration' as measure, e.duration_us as value
    union all
    select 'queue_wait', (e.measures->>'queue_wait_us')::bigint where e.event_type = 'command.execution.started'
    union all
    select each.measure, each.value
    from (
        values ('context', (e.measures->>'context_us')::bigint), ('model', (e.measures->>'model_us')::bigint),
            ('prompt_tokens', (e.measures->>'prompt_tokens')::bigint),
            ('completion_tokens', (e.measures->>'completion_tokens')::bigint),
            ('cache_hit', case e.measures->>'cache' when 'hit' then 1 when 'miss' then 0 end)
    ) as each (measure, value)
    where e.component = 'chat' and each.value is not null
) as m

-- name: of_durations
-- The same of durations alone, which every event has a part for: no other measure is looked for. Conditions on `e` follow.
-- params: width. Reads the given partitions.
select date_bin(%(width)s::interval, e.occurred_at, 'epoch'::timestamptz) as starts_at,
    e.component, e.event_type, e.level, e.dry_run,
    case e.event_type when 'http.request.completed' then concat_ws(' ', e.measures->>'method', e.operation)
        else e.operation end as operation,
    e.outcome, e.error_category, e.space_id, e.user_id, 'duration' as measure, e.duration_us as value, e.occurred_at
from telemetry_events as e

-- name: of_buckets
-- Parts of buckets: one for its sums, and one for each bin; conditions on `b` follow. params: width: interval of the buckets
-- that they go to. Index telemetry_metrics_once.
select date_bin(%(width)s::interval, b.starts_at, 'epoch'::timestamptz) as starts_at,
    b.component, b.event_type, b.level, b.dry_run, b.operation, b.outcome, b.error_category, b.space_id, b.user_id,
    b.measure, p.events, p.errors, p.measured, p.total, p.least, p.greatest, p.last_at, b.scale, p.bin, p.count
from telemetry_metrics as b
cross join lateral (
    select b.events, b.errors, b.measured, b.total, b.least, b.greatest, b.last_at, null::smallint as bin, 0::bigint as count
    union all
    select 0, 0, 0, 0, null, null, null, bin, count from unnest(b.bins, b.counts) as each (bin, count)
) as p

-- name: of_sums
-- Parts of buckets without their bins; conditions on `b` follow. params: width: interval of the buckets that they go to.
-- Index telemetry_metrics_once.
select date_bin(%(width)s::interval, b.starts_at, 'epoch'::timestamptz) as starts_at,
    b.component, b.event_type, b.level, b.dry_run, b.operation, b.outcome, b.error_category, b.space_id, b.user_id,
    b.measure, b.events, b.errors, b.measured, b.total, b.least, b.greatest, b.last_at, b.scale, null::smallint as bin,
    0::bigint as count
from telemetry_metrics as b

-- name: of_bins
-- Bins of buckets, as they are; conditions on `b` follow. Index telemetry_metrics_once.
select b.component, b.event_type, b.level, b.dry_run, b.operation, b.outcome, b.error_category, b.space_id, b.user_id,
    b.measure, b.scale, b.bins, b.counts
from telemetry_metrics as b
