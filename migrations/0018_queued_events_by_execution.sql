-- The event that tells of an acceptance has the id of its execution, and needs no index of its own: every update of an
-- execution writes a new entry into each index. Those of other ids (of children, and from before) are few.

drop index command_executions_queued_events;
create index command_executions_queued_events on command_executions (queued_event_id) where queued_event_id <> id;

create or replace view ledger_events as
    select id as event_id, 'queued' as kind from command_executions where queued_event_id = id
    union all
    select queued_event_id, 'queued' from command_executions where queued_event_id <> id
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
