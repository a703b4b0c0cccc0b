-- Where live figures begin (telemetry.live.stored), in the view of the transaction.

-- name: seen
-- Numbers that arrived, of producers that were heard of lately. params: since. Index telemetry_producers_heard.
select epoch, seen from telemetry_producers where heard_at >= %(since)s;

-- name: busiest_users
-- Users with the most requests. params: first_id, end_id: of events; types: of events that end requests; most. Primary key
-- of telemetry_events.
select user_id
from telemetry_events
where event_id >= %(first_id)s and event_id < %(end_id)s and event_type = any(%(types)s::text[]) and user_id is not null
    and not dry_run
group by user_id
order by count(*) desc, user_id
limit %(most)s;

-- name: busiest_spaces
-- As busiest_users, of spaces.
select space_id
from telemetry_events
where event_id >= %(first_id)s and event_id < %(end_id)s and event_type = any(%(types)s::text[]) and space_id is not null
    and not dry_run
group by space_id
order by count(*) desc, space_id
limit %(most)s;
