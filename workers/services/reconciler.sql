-- Statements of workers/services/reconciler.py.

-- name: note_gaps
-- Producers of the last month of which something is missing that the ledger was not compared for yet: numbers, what was
-- dropped, or how it ended. As they are now: what they gave until now is healed once the ledger is compared until now.
-- params: transport_at; silence: interval. index: telemetry_producers_heard.
insert into telemetry_gaps (epoch, given, dropped)
select epoch, known.given, dropped
from telemetry_producers,
    lateral (select greatest(given, upper(seen) - 1) as given, coalesce(healed_given, 0) as healed) as known
where heard_at > now() - interval '31 days' and (
    (known.given > known.healed and not seen @> int8range(known.healed + 1, known.given, '[]'))
    or dropped <> coalesce(healed_dropped, '{}')
    or (
        closed_at is null and heard_at < %(transport_at)s::timestamptz - %(silence)s::interval
        and (healed_at is null or healed_at <= heard_at)
    )
)
on conflict (epoch) do nothing;

-- name: is_wanted
-- Whether the ledger is to be compared: it never was, somebody was killed at it, it was long ago, or something is missing.
-- params: interval, pause: intervals; the pause is for what is missing. Primary key.
select coalesce(
    (
        select finished_at is null or finished_at < now() - %(interval)s::interval or finished_at > now()
            or (finished_at < now() - %(pause)s::interval and exists (select from telemetry_gaps))
        from telemetry_comparison
    ),
    true
);

-- name: begin
-- Begin to compare, unless somebody has begun: a little before where it ended, and now and then far before, for rows that
-- were committed late. A time that is to come is of before the clock was set back. params: first_id: of what is kept;
-- back_id, far_back_id: the latest to go back to; far_every:
-- interval. Primary key.
insert into telemetry_comparison as c (compared_until, looked_back_at)
values (%(first_id)s, now())
on conflict (id) do update set
    compared_until = least(
        c.compared_until,
        case
            when c.looked_back_at between now() - %(far_every)s::interval and now() then %(back_id)s::uuid
            else %(far_back_id)s::uuid
        end
    ),
    looked_back_at = case
        when c.looked_back_at between now() - %(far_every)s::interval and now() then c.looked_back_at
        else now()
    end,
    finished_at = null
where c.finished_at is not null;

-- name: place
-- How far it was compared. Primary key.
select compared_until from telemetry_comparison;

-- name: lock_place
-- The same, and nobody else goes on from there meanwhile. Primary key.
select compared_until from telemetry_comparison where finished_at is null for update;

-- name: missing
-- Rows of a stretch of the ledger whose event is stored nowhere, in order. Both sides are read from here to there. Events
-- of what is sealed were deleted, and are not made again.
-- params: first_id; end_id: not included; limit. index: those of every event id (`ledger_events`), primary key.
select kind, event_id
from ledger_events as ledger
where event_id >= %(first_id)s and event_id < %(end_id)s
    and not exists (
        select from telemetry_events as stored
        where stored.event_id = ledger.event_id
            and stored.event_id >= %(first_id)s and stored.event_id < %(end_id)s
    )
    and not exists (select from telemetry_quarantine as q where q.event_id = ledger.event_id)
    and not exists (
        select from telemetry_sealed as s
        where ledger.event_id >= s.first_id and ledger.event_id < s.end_id and ledger.kind = any(s.kinds)
    )
order by event_id
limit %(limit)s;

-- name: mark
-- Of these, the events that this transaction has stored were made again: not those that came by themselves just then.
-- params: ids. Primary key.
insert into telemetry_reconciled (event_id)
select event_id from telemetry_events
where event_id = any(%(ids)s) and xmin = pg_current_xact_id()::xid
on conflict (event_id) do nothing;

-- name: append_batch
-- What follows stored events hears of these. params: events; duplicates; minutes: since 1970, int[].
insert into telemetry_batches (events, duplicates, minutes, reconciled)
select %(events)s, %(duplicates)s, coalesce(range_agg(int4range(minute, minute + 1)), '{}'), true
from unnest(%(minutes)s::int[]) as minute;

-- name: advance
-- What is before an event id was compared. params: end_id. Primary key.
update telemetry_comparison set compared_until = %(end_id)s;

-- name: finish
-- The ledger was compared up to the watermark. Producers whose gap was seen before that have it healed; they are locked in
-- the order of epochs, as sinks do, so that nobody waits in a circle. params: until. Primary key; few gaps.
with finished as (
    update telemetry_comparison set finished_at = now()
), closed as (
    delete from telemetry_gaps where seen_at <= %(until)s returning *
), held as (
    select p.epoch
    from telemetry_producers as p
    join closed on closed.epoch = p.epoch
    order by p.epoch
    for no key update of p
)
update telemetry_producers as p
set healed_at = closed.seen_at, healed_given = closed.given, healed_dropped = closed.dropped
from closed
join held on held.epoch = closed.epoch
where p.epoch = closed.epoch
returning p.producer;
