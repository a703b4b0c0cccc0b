-- Statements of benchmarks/seeding.py: a database as it is after a month of work.

-- name: place
-- The worker that runs what is seeded as running, its definition, and a schedule that nothing is due of.
with worker as (
    insert into workers (id, lane, host, process_id, lease_until)
    values ('00000000-0000-7000-8000-00000000000a', 'seeded', 'seeded', 1, now() + interval '7 days')
), definition as (
    insert into command_definitions (hash, slug, source)
    values (decode(md5('seeded'), 'hex'), 'seeded.0', 'slug: seeded.0')
), space as (
    insert into spaces (id, name) values ('00000000-0000-7000-8000-00000000000b', 'seeded') returning id
)
insert into schedules (
    id, name, slug, every_us, timezone, misfire, window_us, overlap, pause_after, inputs, user_name, space_id,
    next_due_at, wake_at, failures_since, created_at, updated_at
)
select '00000000-0000-7000-8000-00000000000c', 'seeded', 'seeded.0', 3600000000, 'UTC', 'latest', 3600000000, 'skip', 5,
    '{}', 'seeded', space.id, now() + interval '1 day', now() + interval '1 day', now() - interval '40 days',
    now() - interval '40 days', now() - interval '40 days'
from space;

-- name: executions
-- Executions of 30 days, the newest of them open: queued behind everything else, scheduled for later, waiting for a
-- child, or running. Ids sort by time. params: count; open: how many of them.
with numbers as (
    select i, now() - interval '30 days' * (1 - i::float8 / %(count)s) as at, i > %(count)s - %(open)s as is_open,
        i %% 4 as kind
    from generate_series(1, %(count)s::int) as i
), rows as (
    select i, at, kind,
        (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(i %% 4096), 3, '0')
            || '8' || substr(md5(i::text), 1, 15))::uuid as id,
        case
            when is_open and i > %(count)s - 8 then 'running'
            when is_open and kind = 0 then 'queued'
            when is_open and kind = 2 then 'waiting'
            when is_open then 'scheduled'
            when i %% 100 < 95 then 'succeeded'
            when i %% 100 < 98 then 'failed'
            when i %% 100 = 98 then 'cancelled'
            when i %% 1000 = 99 then 'dead'
            else 'expired'
        end as state,
        is_open and i <= %(count)s - 8 and kind = 3 and i > %(count)s - %(open)s + 1 as is_child,
        not is_open and i %% 20 = 1 and i > 1 as is_follower,
        not is_open and i %% 50 = 2 as is_scheduled,
        not is_open and i %% 100 = 50 as is_slow -- which is known at the end
    from numbers
), linked as (
    select rows.*, lag(id) over (order by i) as before_it from rows
)
insert into command_executions (
    id, slug, definition_hash, state, lane, priority, request_source, user_name, space_id, correlation_id, parent_id,
    link, parent_path, parent_try, schedule_id, inputs, result, attempt, fence, worker_id, queued_at, run_at, started_at,
    finished_at, queue_wait_us, running_us, steps_executed, steps_successful, mutations_count, queued_event_id,
    finished_event_id, slow, slowest_step, slowest_step_type, slowest_step_us, expires_at
)
select id, 'seeded.' || i %% 50, decode(md5('seeded'), 'hex'), state, 'default', 9,
    case when is_scheduled then 'schedule' else 'api' end, 'seeded', '00000000-0000-7000-8000-00000000000b',
    md5('correlation ' || i)::uuid,
    case when is_child or is_follower then before_it end,
    case when is_child then 'child' when is_follower then 'follows' when is_scheduled then 'scheduled_by' end,
    case when is_child then 'call' end, case when is_child then 1 end,
    case when is_scheduled then '00000000-0000-7000-8000-00000000000c'::uuid end,
    '{"body": "buy milk and bread", "n": 7}', case when state = 'succeeded' then '{"text": "BUY MILK AND BREAD 5"}'::jsonb end,
    case when state in ('queued', 'scheduled') then 0 else 1 end, 1,
    case when state = 'running' then '00000000-0000-7000-8000-00000000000a'::uuid end, at,
    case
        when state = 'scheduled' then now() + interval '1 day' + interval '1 second' * (i %% 3600)
        when state = 'queued' then now() -- since now: what has waited longer comes before what is more urgent
        else at
    end,
    case when state not in ('queued', 'scheduled') then at end,
    case when state not in ('running', 'queued', 'waiting', 'scheduled') then at + interval '20 milliseconds' end,
    1500, 20000, 3, 3, i %% 5 / 4, gen_random_uuid(), gen_random_uuid(), is_slow,
    case when is_slow then 'step-1' end, case when is_slow then 'transform' end, case when is_slow then 6000000 end,
    case when state = 'queued' and i %% 8 = 0 then now() + interval '7 days' end
from linked;

-- name: attempts
-- The claim of each that was claimed.
insert into command_attempts (execution_id, attempt, worker_id, claimed_at, queue_wait_us, event_id)
select id, 1, '00000000-0000-7000-8000-00000000000a', started_at, 1500, gen_random_uuid()
from command_executions
where started_at is not null and slug like 'seeded.%%';

-- name: steps
-- Three steps of each that is final.
insert into command_steps (
    execution_id, path, attempt, step_try, ordinal, step_type, outcome, occurred_at, duration_us, output, event_id
)
select id, 'step-' || n, 1, 1, n, 'transform', 'succeeded', started_at, 30, '{"text": "BUY MILK AND BREAD"}',
    gen_random_uuid()
from command_executions, generate_series(1, 3) as n
where finished_at is not null and slug like 'seeded.%%';

-- name: items
-- The list of a map, of each tenth.
insert into command_step_items (execution_id, path, items)
select distinct execution_id, 'each', '["milk", "bread"]'::jsonb
from command_steps
join command_executions on id = execution_id
where slug in ('seeded.1', 'seeded.11', 'seeded.21', 'seeded.31', 'seeded.41');

-- name: mutations
-- A change by each fifth.
insert into mutations (
    id, execution_id, step_path, attempt, correlation_id, entity, entity_id, operation, occurred_at, event_id, event_rows
)
select gen_random_uuid(), id, 'step-1', 1, correlation_id, 'fragment', gen_random_uuid(), 'created', started_at,
    gen_random_uuid(), 1
from command_executions
where mutations_count = 1 and started_at is not null and slug like 'seeded.%%';

-- name: keys
-- Each twentieth was submitted under a key, 30 days of them, as if nobody had forgotten any.
insert into idempotency_keys (user_name, slug, key_hash, body_hash, execution_id, created_at)
select user_name, slug, decode(md5(id::text), 'hex'), decode(md5(id::text), 'hex'), id, queued_at
from command_executions
where slug = 'seeded.7' or slug = 'seeded.17' or slug = 'seeded.27';

-- name: stops
-- One that runs is to be stopped; of those that have ended the stops are forgotten.
insert into command_stops (execution_id, reason)
select id, 'cancelled' from command_executions where state = 'running' limit 1;

-- name: occurrences
-- What the schedule has done.
insert into schedule_occurrences (
    schedule_id, due_at, origin, state, last_due_at, fire_at, occurred_at, lateness_us, execution_id, slug,
    definition_hash, user_name, space_id, correlation_id, event_id
)
select schedule_id, queued_at, 'calendar', 'fired', queued_at, queued_at, queued_at, 800, id, slug, definition_hash,
    user_name, space_id, correlation_id, gen_random_uuid()
from command_executions
where schedule_id is not null and slug like 'seeded.%%';
