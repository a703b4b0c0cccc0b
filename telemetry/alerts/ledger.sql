-- What channels were to tell of alerts, and what became of it (telemetry.alerts.ledger).

-- name: add
-- A delivery.
insert into telemetry_alert_deliveries (
    id, channel, kind, alert_ids, rules, status, reason, created_at, due_at, finished_at, summary_id
)
values (
    %(id)s, %(channel)s, %(kind)s, %(alert_ids)s, %(rules)s, %(status)s, %(reason)s, %(created_at)s, %(due_at)s,
    %(finished_at)s, %(summary_id)s
);

-- name: told_lately
-- When a channel was given what counts towards its hourly cap, oldest first. params: channel; since; now: what is later was
-- noted by a clock that was ahead; limit.
-- Index telemetry_alert_deliveries_newest.
select created_at from telemetry_alert_deliveries
where channel = %(channel)s and created_at > %(since)s and created_at <= %(now)s and kind in ('fire', 'resolve', 'renotify')
    and status not in ('withheld', 'capped')
order by created_at
limit %(limit)s;

-- name: summary_due
-- The summary of a channel that nobody has begun to tell, held until the transaction ends: what is added to one that is
-- being told, it does not say. Index telemetry_alert_deliveries_due.
select id from telemetry_alert_deliveries
where channel = %(channel)s and status = 'due' and kind = 'summary' and attempts = 0
limit 1
for update;

-- name: claim
-- The delivery that is tried next: the first of each channel that is not done, if it is due; until `again_at` it is its
-- taker's alone. One that failed keeps later ones waiting: they are told in order, and a dead channel is not stormed.
-- Deliveries for tests wait for none. Nothing is put off for more than an hour: what is due later than tomorrow was put off
-- by a clock that was ahead. params: now; again_at; id: of only this one, or null. Index telemetry_alert_deliveries_due.
update telemetry_alert_deliveries as d set attempts = attempts + 1, due_at = %(again_at)s
where d.id = (
    select first.id
    from telemetry_alert_deliveries as first
    where first.status = 'due' and (first.due_at <= %(now)s or first.due_at > %(now)s + interval '1 day')
        and (%(id)s::uuid is null or first.id = %(id)s)
        and (first.kind in ('test', 'summary') or not exists (
            select from telemetry_alert_deliveries as before
            where before.channel = first.channel and before.status = 'due' and before.id < first.id
                and before.kind not in ('test', 'summary')
        ))
    order by first.due_at, first.id
    limit 1
    for update skip locked
)
returning d.id, d.channel, d.kind, d.alert_ids, d.rules, d.attempts, d.created_at, d.status, d.reason, d.due_at,
    d.finished_at, d.latency_us, d.summary_id;

-- name: begin
-- An attempt begins.
insert into telemetry_alert_attempts (delivery_id, attempt, began_at, outcome)
values (%(id)s, %(attempt)s, %(now)s, 'begun');

-- name: end
-- An attempt ends, as long as no other one was begun. params: outcome: delivered or failed; reason; latency_us; status of the
-- delivery; due_at: when to try again, or null; finished_at.
with tried as (
    update telemetry_alert_attempts set outcome = %(outcome)s, reason = %(reason)s, latency_us = %(latency_us)s
    where delivery_id = %(id)s and attempt = %(attempt)s
)
update telemetry_alert_deliveries set
    status = %(status)s, reason = %(reason)s, latency_us = %(latency_us)s, due_at = %(due_at)s, finished_at = %(finished_at)s
where id = %(id)s and attempts = %(attempt)s and status = 'due';

-- name: capped
-- What a summary tells of: how many, and of which rules. Index telemetry_alert_deliveries_summed.
select count(*) as deliveries,
    coalesce(array(
        select distinct rule from telemetry_alert_deliveries as d cross join unnest(d.rules) as each (rule)
        where d.summary_id = %(id)s order by rule limit 20
    ), '{}') as rules
from telemetry_alert_deliveries
where summary_id = %(id)s;

-- name: alerts_of
-- Alerts of a delivery, oldest first. params: ids.
select * from telemetry_alerts where id = any(%(ids)s) order by id;

-- name: of_alert
-- Deliveries of an alert, in order, each with its attempts; at most a thousand. params: id of the alert; since: when it fired.
-- Index telemetry_alert_deliveries_newest.
select d.id, d.channel, d.kind, d.alert_ids, d.rules, d.attempts, d.created_at, d.status, d.reason, d.due_at,
    d.finished_at, d.latency_us, d.summary_id
from telemetry_alert_deliveries as d
where d.channel = any(%(channels)s) and d.created_at >= %(since)s and %(id)s = any(d.alert_ids)
order by d.created_at, d.channel, d.id
limit 1000;

-- name: attempts
-- How often a delivery was tried, and how that went. Primary key.
select attempt, began_at, outcome, reason, latency_us from telemetry_alert_attempts
where delivery_id = %(id)s
order by attempt;
