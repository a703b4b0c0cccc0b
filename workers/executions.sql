-- name: submit
-- Accept an execution: keep its definition if it is new, and insert the row. One statement, one round trip.
-- params: all columns of a new row; source: the definition's text.
with definition as (
    insert into command_definitions (hash, slug, version, source)
    values (%(definition_hash)s, %(slug)s, %(version)s, %(source)s)
    on conflict (hash) do nothing
)
insert into command_executions (
    id, slug, definition_hash, state, priority, request_source, dry_run, user_name, space_id, correlation_id,
    parent_id, link, inputs, lane, queued_at, run_at, queued_event_id
) values (
    %(id)s, %(slug)s, %(definition_hash)s, 'queued', %(priority)s, %(request_source)s, %(dry_run)s, %(user_name)s,
    %(space_id)s, %(correlation_id)s, %(parent_id)s, %(link)s, %(inputs)s, %(lane)s, %(queued_at)s, %(queued_at)s,
    %(queued_event_id)s
);

-- name: claim
-- Take the best due execution of a lane: most urgent, then oldest. Two claimers never get the same row.
-- params: lane; now; worker_id; event_id: of command.execution.started. index: command_executions_due.
update command_executions as e
set state = 'running',
    attempt = e.attempt + 1,
    fence = e.fence + 1,
    worker_id = %(worker_id)s,
    started_at = coalesce(e.started_at, %(now)s),
    claimed_at = %(now)s,
    started_event_id = %(event_id)s
from command_definitions as d, spaces as s
where e.id = (
        select c.id from command_executions as c
        where c.state = 'queued' and c.lane = %(lane)s and c.run_at <= %(now)s
        order by c.priority, c.run_at, c.id
        for no key update skip locked
        limit 1
    )
    and d.hash = e.definition_hash
    and s.id = e.space_id
returning e.id, e.slug, e.definition_hash, d.source, e.attempt, e.fence, e.user_name, s.name as space, e.space_id,
    e.request_source, e.correlation_id, e.parent_id, e.dry_run, e.inputs, e.queued_at, e.run_at, e.started_at,
    e.claimed_at, e.running_us, e.started_event_id;

-- name: lock
-- The fence: whoever holds this row lock with a matching fence may write for the execution. No row: it is not ours.
-- params: id; fence.
select 1 as mine from command_executions
where id = %(id)s and fence = %(fence)s and state = 'running'
for no key update;

-- name: insert_step
-- One ledger row. params: the columns; output, error and measures as JSON.
insert into command_steps (
    execution_id, path, attempt, step_try, ordinal, step_type, outcome, occurred_at, duration_us, mutations_count,
    fragment_id, output, error, error_type, error_category, error_fingerprint, measures, event_id
) values (
    %(execution_id)s, %(path)s, %(attempt)s, %(step_try)s, %(ordinal)s, %(step_type)s, %(outcome)s, %(occurred_at)s,
    %(duration_us)s, %(mutations_count)s, %(fragment_id)s, %(output)s, %(error)s, %(error_type)s, %(error_category)s,
    %(error_fingerprint)s, %(measures)s, %(event_id)s
);

-- name: insert_mutation
-- One change. params: the columns.
insert into mutations (
    id, execution_id, step_path, attempt, correlation_id, entity, entity_id, operation, changed_fields, rows_count,
    before_hash, after_hash, dry_run, occurred_at, event_id
) values (
    %(id)s, %(execution_id)s, %(step_path)s, %(attempt)s, %(correlation_id)s, %(entity)s, %(entity_id)s,
    %(operation)s, %(changed_fields)s, %(rows_count)s, %(before_hash)s, %(after_hash)s, %(dry_run)s, %(occurred_at)s,
    %(event_id)s
);

-- name: freeze_items
-- Keep the list of a map; the list kept first wins. params: execution_id; path; items: JSON.
insert into command_step_items (execution_id, path, items)
values (%(execution_id)s, %(path)s, %(items)s)
on conflict (execution_id, path) do nothing;

-- name: finish
-- The final state, once: only from `running`, only behind the fence. No row: somebody else's by now.
-- params: id; fence; state; result and error as JSON; finished_at; running_us of this attempt; the statistics; event_id.
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
    finished_event_id = %(event_id)s
where id = %(id)s and fence = %(fence)s and state = 'running'
returning id;

-- name: get
-- One execution. params: id. index: primary key.
select e.*, s.name as space from command_executions as e join spaces as s on s.id = e.space_id where e.id = %(id)s;

-- name: page
-- Newest first, by id. params: before: id of the last row seen, or null; state, slug, correlation_id: or null; limit.
-- index: primary key, or command_executions_by_slug, or command_executions_by_correlation.
select e.*, s.name as space
from command_executions as e
join spaces as s on s.id = e.space_id
where (%(before)s::uuid is null or e.id < %(before)s::uuid)
    and (%(state)s::text is null or e.state = %(state)s::text)
    and (%(slug)s::text is null or e.slug = %(slug)s::text)
    and (%(correlation_id)s::uuid is null or e.correlation_id = %(correlation_id)s::uuid)
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
-- Lanes where something has been due for a while: perhaps nobody was told. params: before.
-- index: command_executions_due.
select lane, count(*) as waiting, min(run_at) as oldest
from command_executions
where state = 'queued' and run_at <= %(before)s
group by lane;
