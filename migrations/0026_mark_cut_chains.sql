-- A chain goes on to say what became of a trace when some of its events are gone, and says that they are.

alter table telemetry_correlation_chains add column cut boolean not null default false;

-- What is kept of a day when it goes is found without reading the day: here what failed without an error, by lapse of time
-- or by the death of its workers.
create index telemetry_events_failed on telemetry_events (event_id) where level = 'error' and error_fingerprint is null;
