-- The ledger compared with the events that are stored: which rows have none, and what was given back.

-- A stretch of time is a stretch of event ids. What is compared is read in that order, and nothing else is.
create index command_executions_queued_events on command_executions (queued_event_id) where queued_event_id is not null;
create index command_executions_final_events on command_executions (finished_event_id) where finished_event_id is not null;
create index command_attempts_events on command_attempts (event_id) where event_id is not null;
create index command_attempts_retry_events on command_attempts (retried_event_id) where retried_event_id is not null;
create index command_steps_events on command_steps (event_id) where event_id is not null;
create index mutations_events on mutations (event_id) where event_id is not null;
create index schedule_occurrences_events on schedule_occurrences (event_id) where event_id is not null;
create index telemetry_quarantine_events on telemetry_quarantine (event_id) where event_id is not null;

-- Every event that a row of the ledger stands for, and what kind of row that is. Ids sort by time: whoever asks for a
-- stretch of them reads that stretch of seven indexes.
create view ledger_events as
    select queued_event_id as event_id, 'queued' as kind from command_executions where queued_event_id is not null
    union all
    select event_id, 'claim' from command_attempts where event_id is not null
    union all
    select retried_event_id, 'retry' from command_attempts where retried_event_id is not null
    union all
    select event_id, 'step' from command_steps where event_id is not null
    union all
    select event_id, 'mutation' from mutations where event_id is not null
    union all
    select finished_event_id, 'final' from command_executions where finished_event_id is not null
    union all
    select event_id, 'occurrence' from schedule_occurrences where event_id is not null;

-- How far the ledger was compared with the stored events: one row. Every row of it whose event id is less than
-- `compared_until` has its event. `finished_at`: when that had come up to the watermark, none while it is on its way there.
-- `looked_back_at`: when it was last set back far, for rows that were committed long after what they tell of.
create table telemetry_comparison (
    id integer primary key default 1,
    compared_until uuid not null,
    finished_at timestamptz,
    looked_back_at timestamptz not null,
    constraint telemetry_comparison_is_one check (id = 1)
);

-- Producers of which something is missing, as they were when that was seen. Healed once the ledger is compared up to then.
create table telemetry_gaps (
    epoch uuid primary key references telemetry_producers (epoch) on delete cascade,
    seen_at timestamptz not null default now(),
    given bigint not null,
    dropped jsonb not null
);
