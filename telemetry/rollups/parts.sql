-- Parts: what a bucket is folded from, in one shape whatever they come from (telemetry.rollups.parts). Each has the key,
-- what it adds to the sums, and how many values it adds to which bin.

-- name: of_durations
-- The durations of events; conditions on `e` follow. An event without one is counted, too. params: width: interval of the
-- buckets. Reads the given partitions.
select date_bin(%(width)s::interval, e.occurred_at, 'epoch'::timestamptz) as starts_at,
    e.component, e.event_type, e.level, e.dry_run,
    case e.event_type when 'http.request.completed' then concat_ws(' ', e.measures->>'method', e.operation)
        else e.operation end as operation,
    e.outcome, e.error_category, e.space_id, e.user_id, 'duration' as measure, e.duration_us as value, e.occurred_at
from telemetry_events as e

-- name: of_measures
-- All other measures of events, those without a value, too; conditions on `e` follow. Apart from durations, for most events
-- have none. No lateral join: Postgres remembers what it gave for each event, as if the same came again, and takes ten
-- times as long. params: width. Reads the given partitions.
select date_bin(%(width)s::interval, e.occurred_at, 'epoch'::timestamptz) as starts_at,
    e.component, e.event_type, e.level, e.dry_run, e.operation, e.outcome, e.error_category, e.space_id, e.user_id,
    unnest(case e.component
        when 'chat' then array['context', 'model', 'prompt_tokens', 'completion_tokens', 'cache_hit']
        else array['queue_wait']
    end) as measure,
    unnest(case e.component
        when 'chat' then array[
            (e.measures->>'context_us')::bigint, (e.measures->>'model_us')::bigint,
            (e.measures->>'prompt_tokens')::bigint, (e.measures->>'completion_tokens')::bigint,
            case e.measures->>'cache' when 'hit' then 1 when 'miss' then 0 end
        ]
        else array[(e.measures->>'queue_wait_us')::bigint]
    end) as value,
    e.occurred_at
from telemetry_events as e
where (e.event_type = 'command.execution.started' or e.component = 'chat' and e.measures is not null)

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
