-- Counting events. Filters are added by telemetry.stats, which groups and counts.

-- name: select_countable
-- What is counted of events; conditions follow.
select
    event_type,
    component,
    case when component in ('tool', 'llm') then operation end as operation,
    case when event_type in ('command.execution.completed', 'command.execution.failed', 'command.execution.cancelled')
        then operation end as command,
    outcome,
    case when component = 'chat' then extract(hour from occurred_at at time zone 'UTC')::integer end as hour,
    level,
    duration_us,
    occurred_at
from telemetry_events;
