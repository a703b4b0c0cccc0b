-- Whether the event of every row of the ledger is stored (telemetry.completeness).

-- name: slice_end
-- The id where a slice of so many rows of the ledger ends; none if what is left is smaller. It belongs to the next slice.
-- params: first_id; end_id: not included; rows. index: those of every event id (`ledger_events`).
select event_id from ledger_events
where event_id >= %(first_id)s and event_id < %(end_id)s
order by event_id
offset %(rows)s limit 1;

-- name: compare
-- Of a slice, by kind of row: how many have an event, how many of these are stored nowhere or in quarantine, and the first
-- of them that are stored nowhere. Ids sort by time, so both sides are read from here to there. What is sealed is passed
-- over: its events are deleted. params: first_id; end_id: not included; examples: how many of a kind. index: those of every event id, primary key.
with compared as (
    select ledger.kind, ledger.event_id, stored.event_id is null as is_missing
    from ledger_events as ledger
    left join telemetry_events as stored
        on stored.event_id = ledger.event_id and stored.event_id >= %(first_id)s and stored.event_id < %(end_id)s
    where ledger.event_id >= %(first_id)s and ledger.event_id < %(end_id)s
        and not exists (
            select from telemetry_sealed as s
            where ledger.event_id >= s.first_id and ledger.event_id < s.end_id and ledger.kind = any(s.kinds)
        )
), judged as (
    select kind, event_id,
        case
            when not is_missing then 'stored'
            when exists (select from telemetry_quarantine as q where q.event_id = compared.event_id) then 'quarantined'
            else 'missing'
        end as place
    from compared
)
select kind, count(*) as checked,
    count(*) filter (where place = 'missing') as missing,
    count(*) filter (where place = 'quarantined') as quarantined,
    (array_agg(event_id order by event_id) filter (where place = 'missing'))[1:%(examples)s::int] as examples
from judged
group by kind;

-- name: count_reconciled
-- Events of a stretch of time that were made again from their rows. params: first_id; end_id: not included. Primary key.
select count(*) from telemetry_reconciled where event_id >= %(first_id)s and event_id < %(end_id)s;

-- name: set_back
-- Have the ledger compared again from an event id on. params: first_id. Primary key.
update telemetry_comparison set compared_until = %(first_id)s, finished_at = null where compared_until > %(first_id)s;

-- name: standing
-- What time it is, of how many producers something is missing, and how far the ledger was compared. Few gaps; one row.
select now(), (select count(*) from telemetry_gaps), (select compared_until from telemetry_comparison);
