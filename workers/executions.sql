-- name: submit
-- Accept an execution: keep its definition if it is new, and insert the row. One statement, one round trip. It is due by
-- the database's clock, which also judges whether it is: no machine's own clock can hold it back.
-- params: all columns of a new row; run_at: when it is due, or null for at once; expires_us: how long it may then wait to
-- be begun, or null; source: the definition's text.
with definition as (
    insert into command_definitions (hash, slug, version, source)
    values (%(definition_hash)s, %(slug)s, %(version)s, %(source)s)
    on conflict (hash) do nothing
)
insert into command_executions (
    id, slug, definition_hash, state, priority, request_source, dry_run, user_name, space_id, correlation_id,
    parent_id, link, parent_path, parent_try, schedule_id, inputs, lane, queued_at, run_at, expires_at, queued_event_id,
    concurrency_key, concurrency_max
) values (
    %(id)s, %(slug)s, %(definition_hash)s,
    case when %(run_at)s::timestamptz > now() then 'scheduled' else 'queued' end,
    %(priority)s, %(request_source)s, %(dry_run)s, %(user_name)s, %(space_id)s, %(correlation_id)s, %(parent_id)s,
    %(link)s, %(parent_path)s, %(parent_try)s, %(schedule_id)s, %(inputs)s, %(lane)s, %(queued_at)s,
    greatest(now(), %(run_at)s::timestamptz),
    greatest(now(), %(run_at)s::timestamptz) + %(expires_us)s * interval '1 microsecond', %(queued_event_id)s,
    %(concurrency_key)s, %(concurrency_max)s
);

-- name: claim
-- Take the best due execution of a lane: most urgent, then oldest; a level of priority is worth a quarter of an hour of
-- waiting. Two claimers never get the same row, and nobody without a lease gets any. None also when that best one needs
-- a closer look (workers/slots.sql): its command is paused, it has a key of concurrency and no place yet, or its lane has
-- a limit and nobody has counted. params: lane; claimed_at; worker_id; event_id: of command.execution.started; counted.
-- index: command_executions_due.
with claimed as (
    update command_executions as e
    set state = 'running',
        attempt = e.attempt + 1,
        fence = e.fence + 1,
        worker_id = %(worker_id)s,
        started_at = coalesce(e.started_at, %(claimed_at)s),
        queue_wait_us = coalesce(e.queue_wait_us, due.waited_us)
    from (
        select c.id, greatest(0, extract(epoch from clock_timestamp() - c.run_at) * 1000000)::bigint as waited_us
        from command_executions as c
        where c.state = 'queued' and c.parked is null and c.lane = %(lane)s and c.run_at <= now()
            and (c.expires_at is null or c.expires_at > now() or c.attempt > 0)
            and exists (select from workers as w where w.id = %(worker_id)s and w.lease_until > now())
            and not exists (
                select from flow_controls as f
                where f.kind = 'lane' and f.name = %(lane)s
                    and (
                        (f.paused_at is not null and (f.paused_until is null or f.paused_until > now()))
                        or (f.max_running is not null and not %(counted)s)
                    )
            )
        order by (c.run_at at time zone 'UTC') + c.priority * interval '15 minutes', c.id
        for no key update skip locked
        limit 1
    ) as due
    where e.id = due.id
        and (e.concurrency_key is null or e.slot_held)
        and not exists (
            select from flow_controls as f
            where f.kind = 'command' and f.name = e.slug
                and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
        )
    returning e.*, due.waited_us
), attempt as (
    insert into command_attempts (execution_id, attempt, worker_id, claimed_at, queue_wait_us, event_id)
    select id, attempt, worker_id, %(claimed_at)s, waited_us, %(event_id)s::uuid from claimed
)
select c.id, c.slug, c.definition_hash, d.source, c.lane, c.attempt, c.fence, c.user_name, s.name as space, c.space_id,
    c.request_source, c.correlation_id, c.parent_id, c.dry_run, c.inputs, c.queued_at, c.started_at, c.waited_us,
    c.queue_wait_us, c.running_us, c.failures, c.alone, c.failing, c.link, c.concurrency_key
from claimed as c
join command_definitions as d on d.hash = c.definition_hash
join spaces as s on s.id = c.space_id;

-- name: lock
-- The row of an execution, where the fence holds.
-- params: id; fence.
select 1 as mine from command_executions
where id = %(id)s and fence = %(fence)s and state = 'running'
for no key update;

-- name: write
-- Ledger rows of an execution, whose row is locked for it where the fence holds. Where it does not it raises WF001, and
-- with it fails the transaction, and the effects in it. A step inserted twice (the answer to a commit was lost) is still
-- one. params: id; fence; steps, mutations: JSON lists of their columns, or null. index: primary keys.
with held as (
    select id from command_executions
    where id = %(id)s and fence = %(fence)s and state = 'running'
    for no key update
), steps as (
    insert into command_steps (
        execution_id, path, attempt, step_try, ordinal, step_type, outcome, occurred_at, duration_us, mutations_count,
        fragment_id, output, error, error_type, error_category, error_fingerprint, measures, event_id
    )
    select held.id, path, attempt, step_try, ordinal, step_type, outcome, occurred_at, duration_us, mutations_count,
        fragment_id, output, error, error_type, error_category, error_fingerprint, measures, event_id
    from held, json_to_recordset(%(steps)s::json) as step (
        path text, attempt integer, step_try integer, ordinal integer, step_type text, outcome text,
        occurred_at timestamptz, duration_us bigint, mutations_count integer, fragment_id uuid, output jsonb, error jsonb,
        error_type text, error_category text, error_fingerprint bytea, measures jsonb, event_id uuid
    )
    on conflict on constraint command_steps_pkey do nothing
), changes as (
    insert into mutations (
        id, execution_id, step_path, attempt, correlation_id, entity, entity_id, operation, changed_fields, rows_count,
        before_hash, after_hash, dry_run, occurred_at, event_id, event_rows
    )
    select mutation.id, held.id, step_path, attempt, correlation_id, entity, entity_id, operation, changed_fields,
        rows_count, before_hash, after_hash, dry_run, occurred_at, event_id, event_rows
    from held, json_to_recordset(%(mutations)s::json) as mutation (
        id uuid, step_path text, attempt integer, correlation_id uuid, entity text, entity_id uuid, operation text,
        changed_fields text[], rows_count integer, before_hash bytea, after_hash bytea, dry_run boolean,
        occurred_at timestamptz, event_id uuid, event_rows integer
    )
)
select coalesce((select id from held), fence_lost());

-- name: freeze
-- Lists of map steps, of two of the same the first, of an execution whose row `write` has locked in this transaction.
-- params: id; lists: JSON list of {path, items}. index: primary key.
insert into command_step_items (execution_id, path, items)
select %(id)s, path, items from json_to_recordset(%(lists)s::json) as list (path text, items jsonb)
on conflict (execution_id, path) do nothing;

-- name: finish
-- The final state, once, and only behind the fence. No row: somebody else's by now.
-- params: id; fence; state; result and error as JSON; finished_at; running_us of this attempt; the statistics; slow, and
-- its slowest step; stopped; event_id.
update command_executions
set state = %(state)s,
    result = %(result)s,
    error = %(error)s,
    finished_at = %(finished_at)s,
    running_us = running_us + %(running_us)s,
    steps_executed = %(steps_executed)s,
    steps_successful = %(steps_successful)s,
    steps_failed = %(steps_failed)s,
    steps_skipped = %(steps_skipped)s,
    mutations_count = %(mutations_count)s,
    slow = %(slow)s,
    slowest_step = %(slowest_step)s,
    slowest_step_type = %(slowest_step_type)s,
    slowest_step_us = %(slowest_step_us)s,
    stopped = %(stopped)s,
    finished_event_id = %(event_id)s::uuid,
    slot_held = false
where id = %(id)s and fence = %(fence)s and finished_at is null
returning id;

-- name: stop_children
-- Whoever ends without success wants those no more that it waits for: it may never have got as far as waiting. In the
-- transaction of its end, so that none is forgotten. params: id. index: command_executions_child_once.
with asked as (
    insert into command_stops (execution_id, reason)
    select id, 'cancelled' from command_executions
    where parent_id = %(id)s and link = 'child' and finished_at is null
    on conflict (execution_id) do nothing
    returning execution_id
)
select pg_notify('weir_stops', '') where exists (select from asked);

-- name: release
-- Let go of an execution that goes on later: only from `running`, only behind the fence. No row: somebody else's by now.
-- One that waits for another does so unless that has ended meanwhile: its end locks this row before it looks. So does this,
-- by a statement of its own (`lock`): the children are seen as they are when the next one begins. Who waits keeps its place
-- among those with its key of concurrency.
-- params: id; fence; waiting; delay_us: until it is due, 0 is at once; running_us of this attempt; failures: 1 if it failed;
-- failing: its error, while `on_failure` is still to run, or null; released_at; reason; step_path; error_*; event_id.
with released as (
    update command_executions
    set state = case
            when %(waiting)s and exists (
                select from command_executions as child
                where child.parent_id = %(id)s and child.link = 'child' and child.finished_at is null
            ) then 'waiting'
            when %(delay_us)s = 0 then 'queued'
            else 'scheduled'
        end,
        run_at = now() + %(delay_us)s * interval '1 microsecond',
        fence = fence + 1,
        worker_id = null,
        running_us = running_us + %(running_us)s,
        failures = failures + %(failures)s,
        slot_held = slot_held and %(waiting)s
    where id = %(id)s and fence = %(fence)s and state = 'running'
    returning id, attempt
)
update command_attempts as a
set released_at = %(released_at)s,
    reason = %(reason)s,
    delay_us = %(delay_us)s,
    step_path = %(step_path)s,
    error_type = %(error_type)s,
    error_category = %(error_category)s,
    error_fingerprint = %(error_fingerprint)s,
    retried_event_id = %(event_id)s::uuid
from released as r
where a.execution_id = r.id and a.attempt = r.attempt
returning a.execution_id;

-- name: lock_parent
-- Before the children of an execution are counted. params: id. index: primary key.
select state from command_executions where id = %(id)s for no key update;

-- name: wake_parent
-- Let an execution go on whose children have all ended. params: id. index: primary key, command_executions_by_parent.
update command_executions
set state = 'queued', run_at = now()
where id = %(id)s and state = 'waiting' and not exists (
    select from command_executions as child
    where child.parent_id = %(id)s and child.link = 'child' and child.finished_at is null
)
returning lane;

-- name: fail
-- Keep the error that ends an execution before its `on_failure` steps begin: from now on they are all that is left.
-- params: id; fence; failing: the error as JSON.
update command_executions
set failing = %(failing)s
where id = %(id)s and fence = %(fence)s and state = 'running'
returning id;

-- name: restore
-- How each path of an execution went last, and how often it was tried. params: id. index: primary key.
select distinct on (path) path, step_type, outcome, step_try, ordinal, mutations_count, output::text as output,
    restored_from is null as is_own, error_category
from command_steps
where execution_id = %(id)s
order by path, attempt desc, step_try desc;

-- name: asked_to_stop
-- Whether somebody cancelled an execution while an earlier attempt ran. params: id. Primary key.
select exists (select from command_stops where execution_id = %(id)s and reason = 'cancelled');

-- name: frozen
-- Lists of map steps. params: id. index: primary key.
select path, items from command_step_items where execution_id = %(id)s;

-- name: promote
-- What has become due waits like everything else; its lanes, and how long until this is to be asked again, null if nothing
-- comes later. What is due and locked by somebody is left to the next sweep. params: limit.
-- index: command_executions_later.
with promoted as (
    update command_executions as e
    set state = 'queued'
    from (
        select id from command_executions
        where state = 'scheduled' and run_at <= now()
        order by run_at
        for no key update skip locked
        limit %(limit)s
    ) as due
    where e.id = due.id
    returning e.lane
)
select
    (select coalesce(array_agg(distinct lane), '{}') from promoted) as lanes,
    case
        when (select count(*) from promoted) = %(limit)s then interval '0'
        else (select min(run_at) - now() from command_executions where state = 'scheduled' and run_at > now())
    end as again_in;

-- name: get
-- One execution. params: id. index: primary key.
select e.id, e.slug, e.definition_hash, e.state, e.lane, e.priority, e.request_source, e.dry_run, e.user_name,
    s.name as space, e.space_id, e.correlation_id, e.parent_id, e.link, e.schedule_id, e.error, e.attempt, e.fence,
    e.failures, e.deaths,
    e.worker_id, e.queued_at, e.run_at, e.expires_at, e.started_at, e.finished_at, e.queue_wait_us, e.running_us,
    e.steps_executed, e.steps_successful, e.steps_failed, e.steps_skipped, e.mutations_count, e.slow, e.slowest_step,
    e.slowest_step_type, e.slowest_step_us, e.inputs, e.result,
    case when e.finished_at is null then why_execution_waits(e) end as waiting_for
from command_executions as e
join spaces as s on s.id = e.space_id
where e.id = %(id)s;

-- name: page
-- Newest first, by id; without inputs and results, which may be large.
-- params: before: id of the last row seen, or null; state, slug, correlation_id, slow: or null; limit.
-- index: primary key, or command_executions_by_slug, _by_state, _by_correlation, _slow.
select e.id, e.slug, e.definition_hash, e.state, e.lane, e.priority, e.request_source, e.dry_run, e.user_name,
    s.name as space, e.space_id, e.correlation_id, e.parent_id, e.link, e.schedule_id, e.error, e.attempt, e.fence,
    e.failures, e.deaths,
    e.worker_id, e.queued_at, e.run_at, e.expires_at, e.started_at, e.finished_at, e.queue_wait_us, e.running_us,
    e.steps_executed, e.steps_successful, e.steps_failed, e.steps_skipped, e.mutations_count, e.slow, e.slowest_step,
    e.slowest_step_type, e.slowest_step_us,
    case when e.finished_at is null then why_execution_waits(e) end as waiting_for
from command_executions as e
join spaces as s on s.id = e.space_id
where (%(before)s::uuid is null or e.id < %(before)s::uuid)
    and (%(state)s::text is null or e.state = %(state)s::text)
    and (%(slug)s::text is null or e.slug = %(slug)s::text)
    and (%(correlation_id)s::uuid is null or e.correlation_id = %(correlation_id)s::uuid)
    and (%(slow)s::boolean is null or e.slow = %(slow)s::boolean)
order by e.id desc
limit %(limit)s;

-- name: steps
-- Ledger rows of an execution in the order they began. params: id; after: ordinal of the last row seen; limit.
-- index: command_steps_in_order.
select path, step_type, outcome, attempt, step_try, ordinal, occurred_at, duration_us, mutations_count, fragment_id,
    output, error, measures
from command_steps
where execution_id = %(id)s and ordinal > %(after)s
order by ordinal
limit %(limit)s;

-- name: effects
-- What an execution changed (in a dry run: would have), in rows. params: id. index: mutations_by_execution.
select entity, operation, sum(rows_count)::bigint as rows
from mutations
where execution_id = %(id)s
group by entity, operation
order by entity, operation;

-- name: unhinted_lanes
-- Lanes where something has been due for a while that somebody could begin: perhaps nobody was told. One look into the
-- index per lane; what is parked is not in it. params: patience_ms. index: command_executions_due.
with recursive lanes as (
    select min(lane) as lane from command_executions where state = 'queued' and parked is null
    union all
    select (
        select min(e.lane) from command_executions as e
        where e.state = 'queued' and e.parked is null and e.lane > lanes.lane
    )
    from lanes
    where lanes.lane is not null
)
select lane
from lanes
where lane is not null
    and exists (
        select from command_executions as e
        where e.state = 'queued' and e.parked is null and e.lane = lanes.lane
            and e.run_at <= now() - %(patience_ms)s * interval '1 millisecond'
    )
    and not exists (
        select from flow_controls as f
        where f.kind = 'lane' and f.name = lanes.lane
            and (
                (f.paused_at is not null and (f.paused_until is null or f.paused_until > now()))
                or f.max_running <= (
                    select count(*) from command_executions as r where r.state = 'running' and r.lane = lanes.lane
                )
            )
    );

-- name: committed
-- How each path that an execution ran itself ended last, as far as it is committed. params: id. index: primary key.
select distinct on (path) path, outcome, mutations_count
from command_steps
where execution_id = %(id)s and restored_from is null
order by path, attempt desc, step_try desc;

-- name: slowest_step
-- The run that took longest of the committed steps of an execution that have no steps inside. params: id.
-- index: primary key.
with recursive ran as materialized (
    select path, step_type, duration_us from command_steps where execution_id = %(id)s and outcome <> 'skipped'
), inside as (
    -- The steps around each, from its path: `each[3].check.then` is inside `each[3].check`, and that inside `each`.
    select distinct regexp_replace(path, '(\[[0-9]+\])?\.[^.]+$', '') as path from ran where path like '%%.%%'
    union
    select regexp_replace(path, '(\[[0-9]+\])?\.[^.]+$', '') from inside where path like '%%.%%'
)
select path, step_type, duration_us
from ran
where path not in (select path from inside)
order by duration_us desc
limit 1;
