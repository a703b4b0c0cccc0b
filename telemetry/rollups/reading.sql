-- What there is of buckets (telemetry.rollups.reading), in the view of the transaction.

-- name: known
-- What is dirty, kept and sealed; minutes, hours and days since 1970. params: stored_before: a position, as text, or null:
-- what has anything that was stored since is dirty, too. Primary key, telemetry_batches_in_order.
with place as (
    select * from telemetry_rollup_progress
), unread as (
    select coalesce(range_agg(b.minutes), '{}') as minutes
    from place
    join telemetry_batches as b
        on b.written_by >= pg_snapshot_xmin(place.view) and not pg_visible_in_snapshot(b.written_by, place.view)
), later as (
    select coalesce(range_agg(minutes), '{}') as minutes
    from telemetry_batches
    where written_by >= %(stored_before)s::text::xid8
), sealed as (
    select coalesce(range_agg(int4range(first, first + 1440)) filter (where component = ''), '{}') as minutes,
        coalesce(jsonb_agg(jsonb_build_array(first, component)) filter (where component <> ''), '[]') as components
    from (select component, (day - date '1970-01-01') * 1440 as first from telemetry_sealed) as each
)
select (place.minutes + unread.minutes + later.minutes) - sealed.minutes as minutes, place.hours, place.member_minutes,
    place.days, place.minutes_from, place.hours_from, sealed.minutes as sealed, sealed.components
from place, unread, later, sealed;

-- name: kept
-- The first minute and the first hour of which narrow buckets are kept, since 1970. One row.
select minutes_from, hours_from from telemetry_rollup_progress;

-- name: reckon_with_memory
-- Have pages cost the same wherever they are, workers more than a few thousand rows are worth, and groups room, until the end
-- of the transaction; what it was before. One row.
with before as materialized (
    select current_setting('random_page_cost') as pages, current_setting('parallel_setup_cost') as workers,
        current_setting('hash_mem_multiplier') as room
), now as materialized (
    select set_config('random_page_cost', '1.1', true), set_config('parallel_setup_cost', '10000', true),
        set_config('hash_mem_multiplier', '100', true)
    from before
)
select before.pages, before.workers, before.room from before, now;

-- name: reckon_as_before
-- Have it as it was. params: pages; workers; room.
select set_config('random_page_cost', %(pages)s, true), set_config('parallel_setup_cost', %(workers)s, true),
    set_config('hash_mem_multiplier', %(room)s, true);
