-- Buckets as records (telemetry.rollups.records).

-- name: extent
-- When the first bucket begins and the last one does, and the ids of the first event and the last; nulls, where there are
-- none. params: dimension; widths. Index telemetry_metrics_once; primary key of telemetry_events.
select
    (select min(first) from unnest(%(widths)s::text[]) as each (width), lateral (
        select min(starts_at) as first from telemetry_metrics where dimension = %(dimension)s and width = each.width
    ) as found),
    (select max(last) from unnest(%(widths)s::text[]) as each (width), lateral (
        select max(starts_at) as last from telemetry_metrics where dimension = %(dimension)s and width = each.width
    ) as found),
    (select event_id from telemetry_events order by event_id limit 1),
    (select event_id from telemetry_events order by event_id desc limit 1);

-- name: is_lost
-- Whether a day went since a position of which something had been stored since: nobody can tell any more what it was then.
-- params: stored_before: a position, as text; since; until: instants. Index telemetry_batches_in_order.
select exists (
    select from telemetry_sealed as s
    join telemetry_batches as b
        on b.minutes && int4range((s.day - date '1970-01-01') * 1440, (s.day - date '1970-01-01' + 1) * 1440)
    where s.component = '' and b.written_by >= %(stored_before)s::text::xid8
        and s.day >= (%(since)s::timestamptz at time zone 'UTC')::date
        and s.day < %(until)s::timestamptz at time zone 'UTC'
);
