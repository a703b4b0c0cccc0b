-- Rows of the ledger with all that their events say (workers.ledger_events). Of each: params: ids: of events, uuid[];
-- index: that of the event id.

-- name: queued
-- Executions that were accepted. index: primary key, command_executions_queued_events.
with found as (
    select id from command_executions where id = any(%(ids)s) and queued_event_id = id
    union all
    select id from command_executions where queued_event_id = any(%(ids)s) and queued_event_id <> id
)
select queued_event_id as event_id, queued_at, priority,
    correlation_id, request_source, user_name, space_id, id as execution_id, parent_id, slug, definition_hash, dry_run,
    0 as attempt
from command_executions
where id in (select id from found);

-- name: final
-- Executions that have ended.
select finished_event_id as event_id, finished_at, queued_at, state, running_us, coalesce(queue_wait_us, 0) as queue_wait_us,
    steps_executed, steps_successful, steps_failed, steps_skipped, mutations_count, slow, slowest_step, slowest_step_type,
    slowest_step_us, stopped, error ->> 'type' as error_type, error ->> 'category' as error_category,
    decode(error ->> 'fingerprint', 'hex') as error_fingerprint,
    correlation_id, request_source, user_name, space_id, id as execution_id, parent_id, slug, definition_hash, dry_run,
    attempt
from command_executions
where finished_event_id = any(%(ids)s);

-- name: claim
-- Attempts that were begun.
select a.event_id, a.claimed_at, a.queue_wait_us,
    e.correlation_id, e.request_source, e.user_name, e.space_id, e.id as execution_id, e.parent_id, e.slug,
    e.definition_hash, e.dry_run, a.attempt
from command_attempts as a
join command_executions as e on e.id = a.execution_id
where a.event_id = any(%(ids)s);

-- name: retry
-- Attempts that ended without ending their execution.
select a.retried_event_id as event_id, a.released_at, a.reason, a.delay_us, a.step_path, a.error_type, a.error_category,
    a.error_fingerprint,
    e.correlation_id, e.request_source, e.user_name, e.space_id, e.id as execution_id, e.parent_id, e.slug,
    e.definition_hash, e.dry_run, a.attempt
from command_attempts as a
join command_executions as e on e.id = a.execution_id
where a.retried_event_id = any(%(ids)s);

-- name: step
-- Runs of steps.
select s.event_id, s.occurred_at, s.path, s.step_type, s.outcome, s.duration_us, s.step_try,
    s.mutations_count, s.fragment_id, s.measures, s.error_type, s.error_category, s.error_fingerprint,
    s.error -> 'failed_fields' as failed_fields,
    e.correlation_id, e.request_source, e.user_name, e.space_id, e.id as execution_id, e.parent_id, e.slug,
    e.definition_hash, e.dry_run, s.attempt
from command_steps as s
join command_executions as e on e.id = s.execution_id
where s.event_id = any(%(ids)s);

-- name: mutation
-- Changes of fragments: by steps, and from outside any execution.
select m.event_id, m.occurred_at, m.operation, m.entity_id, m.step_path, m.event_rows,
    m.correlation_id, coalesce(e.request_source, m.request_source) as request_source,
    coalesce(e.user_name, m.user_name) as user_name, coalesce(e.space_id, m.space_id) as space_id, m.execution_id,
    e.parent_id, e.slug, e.definition_hash, m.dry_run, coalesce(m.attempt, 0) as attempt
from mutations as m
left join command_executions as e on e.id = m.execution_id
where m.event_id = any(%(ids)s);

-- name: occurrence
-- Due times that were dealt with.
select event_id, occurred_at, schedule_id, due_at, last_due_at, due_times, state, reason, lateness_us, origin,
    correlation_id, 'schedule' as request_source, user_name, space_id, execution_id, null::uuid as parent_id, slug,
    definition_hash, false as dry_run, 0 as attempt
from schedule_occurrences
where event_id = any(%(ids)s);
