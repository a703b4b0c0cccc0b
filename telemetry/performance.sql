-- Whatever has a duration and an outcome, by kind (telemetry.performance). More conditions are added there. Each reads the
-- range of the primary key that the time asked for is, or whole partitions of it.

-- name: select_command
-- Executions that came to their end, by command.
select 'command' as kind, operation as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in ('command.execution.completed', 'command.execution.failed');

-- name: select_step
-- Runs of steps, by type.
select 'step' as kind, step_type as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in ('dsl.step.executed', 'dsl.step.failed');

-- name: select_both
-- Executions and steps, in one pass.
select
    case component when 'dsl' then 'step' else 'command' end as kind,
    operation as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in (
    'command.execution.completed', 'command.execution.failed', 'dsl.step.executed', 'dsl.step.failed'
);

-- name: select_tool
-- Runs of steps that call tools.
select 'tool' as kind, step_type as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in ('dsl.step.executed', 'dsl.step.failed') and starts_with(step_type, 'tool.');

-- name: select_model
-- Runs of steps that call language models.
select 'model' as kind, step_type as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in ('dsl.step.executed', 'dsl.step.failed') and starts_with(step_type, 'ai.');

-- name: select_chat
-- Executions that answer in a chat: those that came in through it, and those of commands that are called so.
select 'chat' as kind, operation as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type in ('command.execution.completed', 'command.execution.failed')
    and (request_source = 'chat' or command_slug ~ '(^|\.)chat\.');

-- name: select_http
-- Requests, by method and route.
select 'http' as kind, concat_ws(' ', measures ->> 'method', operation) as name, outcome, duration_us, occurred_at
from telemetry_events
where event_type = 'http.request.completed';
