-- The accounts of producers: which of their events arrived, what they dropped, how hard they are pressed.

-- name: settle
-- What came with the batches of one transaction, added to what came before. The order of arrival does not matter: sets
-- are united, counts are greatest, and what only the newest header knows is taken from a header that is no older.
-- params, one element an epoch: epochs: uuid[]; producers: text[]; seen: text[] of int8multirange; given: bigint[],
-- greatest number; dropped: text[] of jsonb, counts by type; rungs: text[]; waits_since: timestamptz[];
-- closed: boolean[]. Rows are locked in the order of epochs. Primary key.
insert into telemetry_producers as known
    (epoch, producer, heard_at, seen, given, dropped, rung, waits_since, closed_at)
select
    told.epoch,
    told.producer,
    clock_timestamp(),
    told.seen::int8multirange,
    told.given,
    told.dropped::jsonb,
    told.rung,
    told.waits_since,
    case when told.closed then clock_timestamp() end
from unnest(
    %(epochs)s::uuid[],
    %(producers)s::text[],
    %(seen)s::text[],
    %(given)s::bigint[],
    %(dropped)s::text[],
    %(rungs)s::text[],
    %(waits_since)s::timestamptz[],
    %(closed)s::boolean[]
) as told (epoch, producer, seen, given, dropped, rung, waits_since, closed)
order by told.epoch
on conflict (epoch) do update set
    heard_at = greatest(known.heard_at, excluded.heard_at),
    seen = known.seen + excluded.seen,
    given = greatest(known.given, excluded.given),
    dropped = case
        when known.dropped @> excluded.dropped then known.dropped
        else (
            select jsonb_object_agg(
                type.name, greatest((known.dropped ->> type.name)::bigint, (excluded.dropped ->> type.name)::bigint)
            )
            from jsonb_object_keys(known.dropped || excluded.dropped) as type (name)
        )
    end,
    rung = case
        when (excluded.given, excluded.waits_since) >= (known.given, known.waits_since) then excluded.rung
        else known.rung
    end,
    waits_since = case
        when (excluded.given, excluded.waits_since) >= (known.given, known.waits_since) then excluded.waits_since
        else known.waits_since
    end,
    closed_at = coalesce(known.closed_at, excluded.closed_at);

-- name: looked
-- A sink has found nothing new in the stream, now. Primary key.
insert into telemetry_stream (looked_at) values (clock_timestamp())
on conflict (id) do update set looked_at = excluded.looked_at;

-- name: settled
-- Of batches, in their order: whether all their numbers have arrived. A batch without numbers has not.
-- params: epochs: uuid[]; firsts, ends: bigint[], half-open. Primary key.
select coalesce(batch.first < batch.after and known.seen @> int8range(batch.first, batch.after), false)
from unnest(%(epochs)s::uuid[], %(firsts)s::bigint[], %(ends)s::bigint[]) with ordinality
    as batch (epoch, first, after, place)
left join telemetry_producers as known on known.epoch = batch.epoch
order by batch.place;
