-- What producers gave, and what of it has arrived (telemetry.transport).

-- name: watermark
-- Up to when the stream has told everything. `transport_at`: when anything was last heard of it, or a sink found nothing
-- new in it; now, if nobody is to be heard of. What is older than that by `silence` is not waited for, and named. `at`: the least instant from which a
-- producer that is heard of still holds something. Producers of the last day. params: silence: interval.
-- indexes: telemetry_producers_heard, telemetry_producers_open.
with recent as (
    -- What is later than now was heard before the clock was set back.
    select epoch, producer, least(heard_at, now()) as heard_at, waits_since, closed_at is null as is_open
    from telemetry_producers
    where heard_at > now() - interval '1 day'
), stream as (
    select case
        when bool_or(is_open) then greatest(max(heard_at), (select least(looked_at, now()) from telemetry_stream))
        -- Nobody was heard of for a day, and nobody listened: whoever has not said that it ends may be waiting.
        else coalesce((
            select looked_at from telemetry_stream
            where looked_at <= now() - interval '1 day'
                and exists (select from telemetry_producers where closed_at is null)
        ), now())
    end as transport_at
    from recent
), live as (
    select producer, least(waits_since, heard_at) as holds_since
    from recent, stream
    where is_open and heard_at >= transport_at - %(silence)s::interval
)
select stream.transport_at,
    coalesce((select min(holds_since) from live), stream.transport_at) as at,
    (select producer from live order by holds_since limit 1) as held_by,
    array(
        select producer from recent
        where is_open and heard_at < transport_at - %(silence)s::interval
        order by heard_at desc
        limit 100
    ) as silent,
    %(silence)s::interval as silence
from stream;

-- name: epochs
-- Producers that were at work within a stretch of time, in the order they began; whether they are still heard of.
-- Its own clock says when it began: one that was heard of before the end began before it, too.
-- params: since; until; until_id: the least id after it; transport_at; silence: interval. index: telemetry_producers_heard.
select epoch, producer, heard_at, seen, given, dropped, rung, closed_at, healed_at, healed_given, healed_dropped,
    closed_at is null and heard_at >= %(transport_at)s::timestamptz - %(silence)s::interval as is_heard
from telemetry_producers
where heard_at >= %(since)s and (epoch < %(until_id)s or heard_at < %(until)s)
order by epoch;
