-- What could not be stored: put in by sinks, listed, taken out.

-- name: count
-- How many rows there are; no more than capacity are looked at. capacity: bigint.
select count(*) from (select from telemetry_quarantine limit %(capacity)s) as held;

-- name: keep
-- Put rows in; one that is there already stays as it is: by its id, or by epoch and number.
-- rows: text, a JSON array of them: id, reason, event_type, event_id, epoch, number, shape, size_bytes, payload in base64.
-- Primary key, telemetry_quarantine_by_number.
insert into telemetry_quarantine (id, reason, event_type, event_id, epoch, number, shape, size_bytes, payload)
select
    told.id, told.reason, told.event_type, told.event_id, told.epoch, told.number, told.shape, told.size_bytes,
    decode(told.payload, 'base64')
from jsonb_to_recordset(%(rows)s::text::jsonb) as told (
    id uuid,
    reason text,
    event_type text,
    event_id uuid,
    epoch uuid,
    number bigint,
    shape jsonb,
    size_bytes integer,
    payload text
)
order by told.id
on conflict do nothing;

-- name: page
-- Rows without their events, newest first. reason, event_type: text; ids: uuid[]; up_to, after, before: uuid, before and
-- after exclusive; kept_only: boolean; limit: rows. What is null does not narrow.
-- Primary key; with a reason telemetry_quarantine_by_reason.
select
    id, quarantined_at, reason, event_type, event_id, epoch, number, shape, size_bytes, payload is not null as is_kept
from telemetry_quarantine
where
    (%(reason)s::text is null or reason = %(reason)s::text)
    and (%(event_type)s::text is null or event_type = %(event_type)s::text)
    and (%(ids)s::uuid[] is null or id = any(%(ids)s::uuid[]))
    and (%(up_to)s::uuid is null or id <= %(up_to)s::uuid)
    and (%(after)s::uuid is null or id > %(after)s::uuid)
    and (%(before)s::uuid is null or id < %(before)s::uuid)
    and (not %(kept_only)s::boolean or payload is not null)
order by id desc
limit %(limit)s;

-- name: matching
-- Ids of the oldest rows, and how many there are altogether. Parameters as in `page`.
select id, count(*) over ()
from telemetry_quarantine
where
    (%(reason)s::text is null or reason = %(reason)s::text)
    and (%(event_type)s::text is null or event_type = %(event_type)s::text)
    and (%(ids)s::uuid[] is null or id = any(%(ids)s::uuid[]))
    and (%(up_to)s::uuid is null or id <= %(up_to)s::uuid)
    and (%(after)s::uuid is null or id > %(after)s::uuid)
    and (not %(kept_only)s::boolean or payload is not null)
order by id
limit %(limit)s;

-- name: newest
-- The greatest id there is. Primary key.
select id from telemetry_quarantine order by id desc limit 1;

-- name: payloads
-- Kept events, oldest first. ids: uuid[]. Primary key.
select id, payload from telemetry_quarantine where id = any(%(ids)s::uuid[]) and payload is not null order by id;

-- name: drop
-- Take rows out. ids: uuid[]. Primary key.
delete from telemetry_quarantine where id = any(%(ids)s::uuid[]) returning id;
