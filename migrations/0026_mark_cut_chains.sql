-- A chain goes on to say what became of a trace when some of its events are gone, and says that they are.

alter table telemetry_correlation_chains add column cut boolean not null default false;
