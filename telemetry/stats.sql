-- Counting events. Filters are added by telemetry.stats, which groups by the first six columns.

-- name: select_groups
-- Events by what is counted apart; conditions and grouping follow.
select
    event_type,
    component,
    case when component in ('tool', 'llm') then operation end as operation,
    case when event_type in ('command.execution.completed', 'command.execution.failed', 'command.execution.cancelled')
        then command_slug end as command,
    outcome,
    case when component = 'chat' then extract(hour from occurred_at at time zone 'UTC')::integer end as hour,
    count(*) as events,
    count(*) filter (where level = 'error') as errors,
    count(duration_us) as timed,
    coalesce(sum(duration_us), 0) as duration_us,
    max(occurred_at) as last_at
from telemetry_events;
