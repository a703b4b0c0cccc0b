-- Making buckets (telemetry.rollups.aggregator). Minutes, hours and days are numbers since 1970, UTC.

-- name: try_lock
-- Be the only one who makes buckets, until the end of the session. params: key.
select pg_try_advisory_lock(%(key)s);

-- name: unlock
-- Let others. params: key.
select pg_advisory_unlock(%(key)s);

-- name: lock_events
-- Let no day be dropped, or wait for one that is being: what is read after this sees that it is sealed, too. Takes no view.
lock table only telemetry_events in access share mode;

-- name: take_in
-- Take in the minutes of all batches that were not visible last time; what is sealed is not made again, and what is not
-- kept by the minute goes to its hours. Primary key, telemetry_batches_in_order.
with place as (
    select * from telemetry_rollup_progress
), unread as (
    select coalesce(range_agg(b.minutes), '{}') as minutes
    from place
    join telemetry_batches as b
        on b.written_by >= pg_snapshot_xmin(place.view) and not pg_visible_in_snapshot(b.written_by, place.view)
), sealed as (
    select coalesce(range_agg(int4range((day - date '1970-01-01') * 1440, (day - date '1970-01-01' + 1) * 1440)), '{}') as minutes
    from telemetry_sealed
    where component = ''
), dirty as (
    select (place.minutes + unread.minutes) - sealed.minutes as minutes from place, unread, sealed
), old as (
    select coalesce(range_agg(int4range(lower(piece) / 60, (upper(piece) + 59) / 60)), '{}') as hours
    from place, dirty, unnest(dirty.minutes * int4multirange(int4range(null, place.minutes_from))) as piece
)
update telemetry_rollup_progress as p
set view = pg_current_snapshot(), minutes = dirty.minutes - int4multirange(int4range(null, p.minutes_from)),
    hours = p.hours + old.hours, member_hours = p.member_hours + old.hours
from dirty, old;

-- name: next_minutes
-- The newest stretch of minutes that are over and have to be made, within one hour. params: from: the first minute; over:
-- the first that is not over; most: minutes. One row.
select greatest(lower(piece), upper(piece) - %(most)s::int, (upper(piece) - 1) / 60 * 60) as first, upper(piece) as end
from telemetry_rollup_progress, unnest(minutes * int4multirange(int4range(%(from)s::int, %(over)s::int))) as piece
order by piece desc
limit 1;

-- name: next_hour
-- The newest hour that is over and has to be made, all minutes of which are; whether its minutes are kept.
-- params: from: the first minute; over: the first that is not over. One row.
select hour as first, hour + 1 as end, hour * 60 >= minutes_from as is_narrower_kept
from telemetry_rollup_progress, unnest(hours * int4multirange(int4range(%(from)s::int / 60, %(over)s::int / 60))) as piece,
    generate_series(lower(piece), upper(piece) - 1) as hour
where not minutes && int4range(hour * 60, (hour + 1) * 60)
order by hour desc
limit 1;

-- name: next_member_hour
-- As next_hour, of those by space and by user. Late events have them made again: not more often than once in a while.
-- params: from; over; now; interval. One row.
select hour as first, hour + 1 as end, false as is_narrower_kept
from telemetry_rollup_progress, unnest(member_hours * int4multirange(int4range(%(from)s::int / 60, %(over)s::int / 60))) as piece,
    generate_series(lower(piece), upper(piece) - 1) as hour
where not minutes && int4range(hour * 60, (hour + 1) * 60)
    and (members_at is null or members_at <= %(now)s::timestamptz - %(interval)s::interval)
order by hour desc
limit 1;

-- name: next_day
-- As next_hour, for days. params: from; over. One row.
select day as first, day + 1 as end, day * 24 >= hours_from as is_narrower_kept
from telemetry_rollup_progress, unnest(days * int4multirange(int4range(%(from)s::int / 1440, %(over)s::int / 1440))) as piece,
    generate_series(lower(piece), upper(piece) - 1) as day
where not minutes && int4range(day * 1440, (day + 1) * 1440)
    and not hours && int4range(day * 24, (day + 1) * 24) and not member_hours && int4range(day * 24, (day + 1) * 24)
order by day desc
limit 1;

-- name: is_clean
-- Whether a stretch of whole days has all of its buckets in this view. params: from; end: minutes, not included.
-- Primary key, telemetry_batches_in_order.
select not (
    p.minutes && int4range(%(from)s::int, %(end)s::int) or p.hours && int4range(%(from)s::int / 60, %(end)s::int / 60)
    or p.member_hours && int4range(%(from)s::int / 60, %(end)s::int / 60)
    or p.days && int4range(%(from)s::int / 1440, %(end)s::int / 1440)
    or exists (
        select from telemetry_batches as b
        where b.written_by >= pg_snapshot_xmin(p.view) and not pg_visible_in_snapshot(b.written_by, p.view)
            and b.minutes && int4range(%(from)s::int, %(end)s::int)
    )
)
from telemetry_rollup_progress as p;

-- name: sealed_components
-- Components whose events of a day are gone; what was made of them stays. params: minute: of the day. Primary key.
select coalesce(array_agg(component), '{}')
from telemetry_sealed
where day = date '1970-01-01' + %(minute)s::int / 1440 and component <> '';

-- name: clear
-- Forget what was made of a stretch. params: dimensions; width; since; until: not included; sealed: components.
-- Index telemetry_metrics_once.
delete from telemetry_metrics
where dimension = any(%(dimensions)s) and width = %(width_name)s and starts_at >= %(since)s and starts_at < %(until)s
    and component <> all(%(sealed)s);

-- name: leave_minutes
-- These minutes are made; their hours have to be. params: first; end. One row.
update telemetry_rollup_progress
set minutes = minutes - int4multirange(int4range(%(first)s::int, %(end)s::int)),
    hours = hours + int4multirange(int4range(%(first)s::int / 60, (%(end)s::int + 59) / 60)),
    member_hours = member_hours + int4multirange(int4range(%(first)s::int / 60, (%(end)s::int + 59) / 60));

-- name: leave_hour
-- This hour is made; its day has to be. params: first; end. One row.
update telemetry_rollup_progress
set hours = hours - int4multirange(int4range(%(first)s::int, %(end)s::int)),
    days = days + int4multirange(int4range(%(first)s::int / 24, %(first)s::int / 24 + 1));

-- name: leave_member_hour
-- As leave_hour, by space and by user. The last of them says when. params: first; end; over; now. One row.
update telemetry_rollup_progress
set member_hours = member_hours - int4multirange(int4range(%(first)s::int, %(end)s::int)),
    days = days + int4multirange(int4range(%(first)s::int / 24, %(first)s::int / 24 + 1)),
    members_at = case
        when isempty((member_hours - int4multirange(int4range(%(first)s::int, %(end)s::int)))
            * int4multirange(int4range(null, %(over)s::int / 60))) then %(now)s::timestamptz
        else members_at
    end;

-- name: leave_day
-- This day is made. params: first; end. One row.
update telemetry_rollup_progress set days = days - int4multirange(int4range(%(first)s::int, %(end)s::int));

-- name: is_wanted
-- Whether something that is over has to be made: a minute of a batch that is not taken in, or of one that is, or an hour or
-- a day of those. params: over: the first minute that is not over. Primary key, telemetry_batches_in_order.
select not isempty(p.minutes * int4multirange(int4range(null, %(over)s::int)))
    or not isempty(p.hours * int4multirange(int4range(null, %(over)s::int / 60)))
    or not isempty(p.member_hours * int4multirange(int4range(null, %(over)s::int / 60)))
    or not isempty(p.days * int4multirange(int4range(null, %(over)s::int / 1440)))
    or exists (
        select from telemetry_batches as b
        where b.written_by >= pg_snapshot_xmin(p.view) and not pg_visible_in_snapshot(b.written_by, p.view)
            and not isempty(b.minutes * int4multirange(int4range(null, %(over)s::int)))
    )
from telemetry_rollup_progress as p;
