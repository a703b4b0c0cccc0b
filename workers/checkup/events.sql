-- Statements of workers/checkup/events.py.

-- name: recorders
-- Recorders that are heard of: how many keep events on disk, or have no room, and what they lost since they began.
-- params: silence: interval. index: telemetry_producers_open.
select count(*) as recorders, count(*) filter (where rung = 'spooling') as spooling,
    count(*) filter (where rung = 'dropping') as dropping, coalesce(sum(lost), 0)::bigint as lost
from (
    select rung, (select sum(each.value::bigint) from jsonb_each_text(dropped) as each) as lost
    from telemetry_producers
    where closed_at is null and heard_at > now() - %(silence)s::interval
) as heard;

-- name: quarantined
-- What came into quarantine from an id on; no more than a thousand are counted. params: first_id. Primary key.
select count(*) from (select from telemetry_quarantine where id >= %(first_id)s limit 1000) as recent;

-- name: failures
-- Of the newest events that end something, by component: how many there are, and how many failed. A request that was
-- refused is the client's failure, however many there are: only answers from 500 on are ours.
-- params: first_id; events: at most. Primary key.
select component, count(*) as ended, count(*) filter (
    where outcome in ('failed', 'expired', 'dead')
    and (component <> 'http' or (measures ->> 'status')::integer >= 500)
) as failures
from (
    select component, outcome, measures from telemetry_events
    where event_id >= %(first_id)s
    order by event_id desc
    limit %(events)s
) as recent
where outcome is not null and outcome <> 'skipped'
group by component
order by component;

-- name: size
-- Bytes of all tables of telemetry, their indexes included.
select sum(pg_total_relation_size(oid))::bigint
from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r' and starts_with(relname, 'telemetry_');
