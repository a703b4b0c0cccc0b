-- How long buckets stay (telemetry.rollups.keeping).

-- name: keep_from
-- What is older is not kept by the minute, or by the hour, any more; nothing of it is to be made.
-- params: minutes_from; hours_from. One row.
update telemetry_rollup_progress
set minutes_from = greatest(minutes_from, %(minutes_from)s), hours_from = greatest(hours_from, %(hours_from)s);

-- name: forget
-- Buckets of a width that are not kept any more, at most so many. params: width; until; rows. Index telemetry_metrics_once.
delete from telemetry_metrics
where ctid = any(array(
    select ctid from telemetry_metrics
    where dimension = any(array['operation', 'space', 'user']) and width = %(width_name)s and starts_at < %(until)s
    limit %(rows)s
));

-- name: fine_days
-- Days that are kept more coarsely from now on, at most so many. params: scale; until; rows. Index telemetry_metrics_once.
select ctid::text as place, scale, bins, counts
from telemetry_metrics
where dimension = any(array['operation', 'space', 'user']) and width = 'day' and starts_at < %(until)s
    and scale > %(scale)s and bins <> '{}'
limit %(rows)s
for update;

-- name: coarsen
-- The same values in fewer bins. params: place: ctid; scale; bins; counts. By place.
update telemetry_metrics
set scale = %(scale)s, bins = %(bins)s, counts = %(counts)s
where ctid = %(place)s::tid;
