-- Rules, how they stand, alerts and silences (telemetry.alerts.store).

-- name: rules
-- All rules by name, or one. params: name: text or null. Primary key.
select name, origin, words, is_enabled, changed_at
from telemetry_alert_rules
where %(name)s::text is null or name = %(name)s
order by name;

-- name: rule_names
-- What rules are called. Primary key.
select name
from telemetry_alert_rules
order by name;

-- name: add_rule
-- A new rule; no row if the name is taken.
insert into telemetry_alert_rules (name, origin, words, changed_at)
values (%(name)s, %(origin)s, %(words)s, %(now)s)
on conflict (name) do nothing
returning name;

-- name: declare_rule
-- A declared rule, new or as it reads now; no row if it is so already. What a user made under its name gives way.
insert into telemetry_alert_rules as r (name, origin, words, changed_at)
values (%(name)s, %(origin)s, %(words)s, %(now)s)
on conflict (name) do update set origin = excluded.origin, words = excluded.words, changed_at = excluded.changed_at
where r.origin <> excluded.origin or r.words <> excluded.words
returning name;

-- name: undeclared
-- Declared rules that no longer are. params: names.
select name from telemetry_alert_rules where origin <> 'user' and name <> all(%(names)s);

-- name: switch_rule
-- Somebody switches a rule on or off. params: name; is_enabled; now.
update telemetry_alert_rules set is_enabled = %(is_enabled)s, changed_at = %(now)s where name = %(name)s;

-- name: remove_rule
-- A rule and how it stands; its alerts stay.
delete from telemetry_alert_rules where name = %(name)s;

-- name: states
-- How every rule stands, held until the transaction ends.
select rule, state, since, is_open, violations, held, violated_at, value, evaluated_until, skipped_windows, notified_at
from telemetry_alert_states
order by rule
for update;

-- name: states_seen
-- How every rule stands.
select rule, state, since, is_open, violations, held, violated_at, value, evaluated_until, skipped_windows, notified_at
from telemetry_alert_states;

-- name: put_state
-- How a rule stands from now on; nothing if the rule is gone.
insert into telemetry_alert_states (
    rule, state, since, is_open, violations, held, violated_at, value, evaluated_until, skipped_windows, notified_at
)
select %(rule)s, %(state)s, %(since)s, %(is_open)s, %(violations)s, %(held)s, %(violated_at)s, %(value)s,
    %(evaluated_until)s, %(skipped_windows)s, %(notified_at)s
where exists (select from telemetry_alert_rules where name = %(rule)s)
on conflict (rule) do update set
    state = excluded.state, since = excluded.since, is_open = excluded.is_open, violations = excluded.violations,
    held = excluded.held, violated_at = excluded.violated_at, value = excluded.value,
    evaluated_until = excluded.evaluated_until, skipped_windows = excluded.skipped_windows,
    notified_at = excluded.notified_at;

-- name: drop_state
-- Forget how a rule stands.
delete from telemetry_alert_states where rule = %(rule)s;

-- name: hold_rules
-- Keep rules as they are until the transaction ends.
select name, origin, words, is_enabled, changed_at from telemetry_alert_rules order by name for share;

-- name: hold_to_change
-- Keep others from one rule, or from all, until the transaction ends. Rules come first, then how they stand, then alerts: who
-- takes them in another order waits for whoever evaluates, who waits for them. params: name: text or null. Primary key.
select from telemetry_alert_rules where %(name)s::text is null or name = %(name)s order by name for update;

-- name: open_alert
-- A rule fires.
insert into telemetry_alerts (
    id, rule, metric, statistic, unit, severity, operator, threshold, value, window_ended_at, fired_at, message, state,
    channels
)
values (
    %(id)s, %(rule)s, %(metric)s, %(statistic)s, %(unit)s, %(severity)s, %(operator)s, %(threshold)s, %(value)s,
    %(window_ended_at)s, %(fired_at)s, %(message)s, 'firing', %(channels)s
);

-- name: resolve_alert
-- The open alert of a rule ends; its row. Index telemetry_alerts_open.
update telemetry_alerts set state = 'resolved', resolved_at = %(now)s
where rule = %(rule)s and state = 'firing'
returning *;

-- name: open_alerts
-- Alerts that have not ended, oldest first, held until the transaction ends. Index telemetry_alerts_open.
select * from telemetry_alerts where state = 'firing' order by id for update;

-- name: note_notified
-- People are told of an alert.
update telemetry_alerts set notified_at = %(now)s, withheld = null where id = %(id)s;

-- name: note_withheld
-- Something of an alert is kept back.
update telemetry_alerts set withheld = %(withheld)s where id = %(id)s;

-- name: alerts
-- A page of alerts, newest first. params: before: id or null; state, rule, severity: text or null; since; until; limit.
-- Primary key.
select * from telemetry_alerts
where (%(before)s::uuid is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(rule)s::text is null or rule = %(rule)s)
    and (%(severity)s::text is null or severity = %(severity)s)
    and (%(since)s::timestamptz is null or fired_at >= %(since)s)
    and (%(until)s::timestamptz is null or fired_at < %(until)s)
order by id desc
limit %(limit)s;

-- name: alert
-- One alert by its id.
select * from telemetry_alerts where id = %(id)s;

-- name: acknowledge
-- Somebody has an alert in hand; who did so first stays named.
update telemetry_alerts set
    acknowledged_at = coalesce(acknowledged_at, %(now)s),
    acknowledged_by = case when acknowledged_at is null then %(by)s else acknowledged_by end
where id = %(id)s
returning *;

-- name: silences
-- Silences that hold or will hold, by their end. params: now. Index telemetry_alert_silences_ending.
select id, rule, severity, starts_at, ends_at, created_at, created_by from telemetry_alert_silences
where ends_at > %(now)s
order by ends_at, id;

-- name: add_silence
-- Quiet for a while.
insert into telemetry_alert_silences (id, rule, severity, starts_at, ends_at, created_at, created_by)
values (%(id)s, %(rule)s, %(severity)s, %(starts_at)s, %(ends_at)s, %(created_at)s, %(created_by)s);

-- name: end_silence
-- A silence ends now; one that has not begun never does. No row if it has ended.
update telemetry_alert_silences set starts_at = least(starts_at, %(now)s), ends_at = %(now)s
where id = %(id)s and ends_at > %(now)s
returning id, rule, severity, starts_at, ends_at, created_at, created_by;
