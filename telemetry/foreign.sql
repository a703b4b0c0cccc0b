-- Events that no producer of this installation gave (telemetry.foreign).

-- name: day_has_rows
-- Whether a row of the ledger has its event in a stretch of time. params: first_id; end_id: not included. index: those of
-- every event id (`ledger_events`).
select exists (select from ledger_events where event_id >= %(first_id)s and event_id < %(end_id)s);

-- name: count_marked
-- Events of a stretch of time with this mark, and the minutes since 1970 they occurred in. params: source; first_id; end_id:
-- not included. Reads the partition.
select count(*), coalesce(array_agg(distinct (floor(extract(epoch from occurred_at) / 60))::integer), '{}')
from telemetry_events
where event_id >= %(first_id)s and event_id < %(end_id)s and request_source = %(source)s;

-- name: has_others
-- Whether anything else is in a stretch of time. params as above. Reads the partition up to the first.
select exists (
    select from telemetry_events
    where event_id >= %(first_id)s and event_id < %(end_id)s and request_source <> %(source)s
);

-- name: delete_marked
-- Delete events of a stretch of time with this mark. params as above. Primary key.
delete from telemetry_events
where event_id >= %(first_id)s and event_id < %(end_id)s and request_source = %(source)s;

-- name: delete_kept
-- Delete those that outlived their day. How many, and the minutes since 1970 they occurred in. params: source. Reads the
-- table.
with gone as (
    delete from telemetry_events_kept where request_source = %(source)s returning occurred_at
)
select count(*), coalesce(array_agg(distinct (floor(extract(epoch from occurred_at) / 60))::integer), '{}') from gone;

-- name: delete_chains
-- Delete what is told of traces with this mark that began in a stretch of time. params as above.
-- index: telemetry_correlation_chains_newest.
delete from telemetry_correlation_chains
where first_event_id >= %(first_id)s and first_event_id < %(end_id)s and request_source = %(source)s;

-- name: limit_waiting
-- How long any lock is waited for until the end of the transaction. timeout: text with unit.
select set_config('lock_timeout', %(timeout)s, true);
