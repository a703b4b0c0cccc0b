-- What rules are compared with (telemetry.alerts.measuring).

-- name: space
-- Id of a space by its name; none if there is no such space.
select id from spaces where name = %(name)s;

-- name: now
-- The time, by the database's clock, of the transaction.
select now();

-- name: pressed
-- Recorders that are heard of and keep events on disk, or have no room for all of them. params: silence: interval.
-- Index telemetry_producers_open.
select count(*) from telemetry_producers
where closed_at is null and heard_at > now() - %(silence)s::interval and rung in ('spooling', 'dropping');

-- name: new_errors
-- Fingerprints of errors that occurred from an id on, and never before as far as is kept; no more than a thousand are
-- looked at. params: first_id. Indexes telemetry_events_errors, telemetry_events_kept_errors.
select count(*) from (
    select distinct error_fingerprint from telemetry_events
    where event_id >= %(first_id)s and error_fingerprint is not null
    limit 1000
) as recent
where not exists (
        select from telemetry_events as e
        where e.error_fingerprint = recent.error_fingerprint and e.event_id < %(first_id)s
    )
    and not exists (
        select from telemetry_events_kept as k
        where k.error_fingerprint = recent.error_fingerprint and k.event_id < %(first_id)s
    );
