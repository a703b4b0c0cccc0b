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

-- name: give_memory
-- Room to sort in, and twice as much for tables of groups: else it is done on disk. Until the end of the transaction.
select set_config('work_mem', '64MB', true), set_config('hash_mem_multiplier', '2', true);

-- name: take_in
-- Take in the minutes of all batches that were not visible last time; what is sealed is not made again, and what is not
-- kept by the minute goes to its hours. An hour by space and by user that has something of such a minute is to be made anew,
-- all of it: it has if the minute is not among those that it lacks, and has buckets. Primary key,
-- telemetry_batches_in_order, telemetry_metrics_once.
with place as (
    select *, int4multirange(int4range(null, minutes_from)) as unkept from telemetry_rollup_progress
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
    select coalesce(range_agg(int4range(lower(piece) / 60, (upper(piece) + 59) / 60)), '{}') as hours,
        coalesce(range_agg(int4range(lower(piece) / 60 * 60, (upper(piece) + 59) / 60 * 60)), '{}') as minutes
    from place, dirty, unnest(dirty.minutes * place.unkept) as piece
), again as (
    select coalesce(range_agg(int4range(minute / 60 * 60, minute / 60 * 60 + 60)), '{}') as minutes
    from place, dirty, unnest(dirty.minutes - place.unkept - place.member_minutes) as piece,
        generate_series(lower(piece), upper(piece) - 1) as minute
    where exists (
        select from telemetry_metrics as m
        where m.dimension = 'operation' and m.width = 'minute' and m.starts_at = to_timestamp(minute * 60.0)
    )
)
update telemetry_rollup_progress as p
set view = pg_current_snapshot(), minutes = dirty.minutes - place.unkept, hours = p.hours + old.hours,
    member_minutes = p.member_minutes + (dirty.minutes - place.unkept) + old.minutes + again.minutes
from place, dirty, old, again;

-- name: next_minutes
-- The newest stretch of minutes that are over and have to be made, within one hour. If those that were over long ago were
-- all made lately, only what is newer. params: from: the first minute; over: the first that is not over; most: minutes;
-- old: the first that was not over long ago; now; interval. One row.
select greatest(lower(piece), upper(piece) - %(most)s::int, (upper(piece) - 1) / 60 * 60) as first, upper(piece) as end
from telemetry_rollup_progress,
    unnest(minutes * int4multirange(int4range(
        case when late_at > %(now)s::timestamptz - %(interval)s::interval then %(old)s::int else %(from)s::int end, %(over)s::int
    ))) as piece
order by piece desc
limit 1;

-- name: next_hour
-- The newest hour that is over and has to be made, all minutes of which are; whether its minutes are kept.
-- params: from; over. One row.
select hour * 60 as first, (hour + 1) * 60 as end, hour * 60 >= minutes_from as is_narrower_kept
from telemetry_rollup_progress, unnest(hours * int4multirange(int4range(%(from)s::int / 60, %(over)s::int / 60))) as piece,
    generate_series(lower(piece), upper(piece) - 1) as hour
where not minutes && int4range(hour * 60, (hour + 1) * 60)
order by hour desc
limit 1;

-- name: next_members
-- The newest stretch of minutes that are over, made, and not in their hour by space and by user; whether nothing of the hour
-- is, so that whatever is there does not count. Such an hour is not begun while a minute of it is to be made: it would be
-- begun again and again. params: from; over; most; now; interval: since they all were. One row.
select greatest(lower(part), upper(part) - %(most)s::int) as first, upper(part) as end, member_minutes @> hour as is_anew
from telemetry_rollup_progress,
    unnest((member_minutes - minutes) * int4multirange(int4range(%(from)s::int, %(over)s::int))) as piece,
    generate_series(lower(piece) / 60, (upper(piece) - 1) / 60) as number,
    lateral (select int4range(number * 60, number * 60 + 60) as hour) as each,
    lateral (select piece * hour as part) as cut
where (members_at is null or members_at <= %(now)s::timestamptz - %(interval)s::interval)
    and not (member_minutes @> hour and minutes && (hour * int4range(null, %(over)s::int)))
order by part desc
limit 1;

-- name: rest_members
-- Nothing more is to be added to hours by space and by user for a while. params: now; interval. One row.
update telemetry_rollup_progress
set members_at = %(now)s
where members_at is null or members_at <= %(now)s::timestamptz - %(interval)s::interval;

-- name: next_day
-- As next_hour, for days. params: from; over. One row.
select day * 1440 as first, (day + 1) * 1440 as end, day * 24 >= hours_from as is_narrower_kept
from telemetry_rollup_progress, unnest(days * int4multirange(int4range(%(from)s::int / 1440, %(over)s::int / 1440))) as piece,
    generate_series(lower(piece), upper(piece) - 1) as day
where not minutes && int4range(day * 1440, (day + 1) * 1440)
    and not hours && int4range(day * 24, (day + 1) * 24) and not member_minutes && int4range(day * 1440, (day + 1) * 1440)
order by day desc
limit 1;

-- name: is_clean
-- Whether a stretch of whole days has all of its buckets in this view. params: from; end: minutes, not included.
-- Primary key, telemetry_batches_in_order.
select not (
    p.minutes && int4range(%(from)s::int, %(end)s::int) or p.hours && int4range(%(from)s::int / 60, %(end)s::int / 60)
    or p.member_minutes && int4range(%(from)s::int, %(end)s::int)
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
-- These minutes are made; their hours have to be. The last of those that were over long ago say when.
-- params: first; end; old: the first minute that was not over long ago; now. One row.
update telemetry_rollup_progress
set minutes = minutes - int4multirange(int4range(%(first)s::int, %(end)s::int)),
    hours = hours + int4multirange(int4range(%(first)s::int / 60, (%(end)s::int + 59) / 60)),
    late_at = case
        when %(first)s::int < %(old)s::int
            and isempty((minutes - int4multirange(int4range(%(first)s::int, %(end)s::int)))
            * int4multirange(int4range(null, %(old)s::int))) then %(now)s::timestamptz
        else late_at
    end;

-- name: leave_hour
-- This hour is made; its day has to be. params: first; end: minutes. One row.
update telemetry_rollup_progress
set hours = hours - int4multirange(int4range(%(first)s::int / 60, %(end)s::int / 60)),
    days = days + int4multirange(int4range(%(first)s::int / 1440, %(first)s::int / 1440 + 1));

-- name: leave_members
-- These minutes are in their hour by space and by user; its day has to be made. params: first; end. One row.
update telemetry_rollup_progress
set member_minutes = member_minutes - int4multirange(int4range(%(first)s::int, %(end)s::int)),
    days = days + int4multirange(int4range(%(first)s::int / 1440, %(first)s::int / 1440 + 1));

-- name: leave_day
-- This day is made. params: first; end: minutes. One row.
update telemetry_rollup_progress
set days = days - int4multirange(int4range(%(first)s::int / 1440, %(end)s::int / 1440));

-- name: is_wanted
-- Whether something that is over has to be made now: a minute of a batch that is not taken in, or of one that is, or an hour
-- or a day of those. params: over: the first minute that is not over; old: the first that was not over long ago; now;
-- interval: of old minutes; members_interval: of hours by space and by user. Primary key, telemetry_batches_in_order.
select not isempty(p.minutes * due.minutes)
    or exists (
        select from unnest(p.hours * int4multirange(int4range(null, %(over)s::int / 60))) as piece,
            generate_series(lower(piece), upper(piece) - 1) as hour
        where not p.minutes && int4range(hour * 60, (hour + 1) * 60)
    )
    or not isempty(p.member_minutes * int4multirange(int4range(null, %(over)s::int)))
        and (p.members_at is null or p.members_at <= %(now)s::timestamptz - %(members_interval)s::interval)
    or not isempty(p.days * int4multirange(int4range(null, %(over)s::int / 1440)))
        and not (p.minutes + p.member_minutes) && int4range(null, %(over)s::int / 1440 * 1440)
    or exists (
        select from telemetry_batches as b
        where b.written_by >= pg_snapshot_xmin(p.view) and not pg_visible_in_snapshot(b.written_by, p.view)
            and not isempty(b.minutes * due.minutes)
    )
from telemetry_rollup_progress as p
cross join lateral (
    select int4multirange(int4range(
        case when p.late_at > %(now)s::timestamptz - %(interval)s::interval then %(old)s::int end, %(over)s::int
    )) as minutes
) as due;
