-- The schema as it is: the sum of the migrations, for reading. A test compares a database made from this file with one
-- made from them (tests/integration/test_migrations.py); only the migrations are ever applied.

-- Which migrations were applied, with the SHA-256 of each file (made by the runner).
create table schema_migrations (
    name text primary key,
    checksum bytea not null,
    applied_at timestamptz not null default now(),
    constraint schema_migrations_checksum_size check (octet_length(checksum) = 32)
);

-- Spaces group fragments and executions; a filter, not an authorisation.
create table spaces (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null default now(),
    constraint spaces_name_unique unique (name),
    constraint spaces_name_form check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$')
);

insert into spaces (id, name) values ('00000000-0000-7000-8000-000000000001', 'default');

-- Fragments: the built-in records.
create table fragments (
    id uuid primary key,
    space_id uuid not null references spaces (id),
    type text not null,
    title text not null default '',
    content text not null default '',
    state jsonb not null default '{}',
    metadata jsonb not null default '{}',
    tags text[] not null default '{}',
    source text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The words of title (weight A) and content (weight B), as they are written: no language's stems or stop words.
    -- A tsvector holds one megabyte at most, so only the first 100,000 characters of a content count.
    search tsvector not null generated always as (
        setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', left(content, 100000)), 'B')
    ) stored,
    constraint fragments_type_form check (type ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    constraint fragments_state_is_object check (jsonb_typeof(state) = 'object'),
    constraint fragments_metadata_is_object check (jsonb_typeof(metadata) = 'object'),
    constraint fragments_times_ordered check (updated_at >= created_at)
);

-- Where an imported fragment came from: a second import of the same note finds the first.
create unique index fragments_source_unique on fragments (space_id, source) where source is not null;
-- Newest first within a type: digests, lists, keyset pages.
create index fragments_by_type on fragments (space_id, type, id desc);
create index fragments_by_tag on fragments using gin (tags);
-- Full-text search.
create index fragments_by_word on fragments using gin (search);

-- Definitions by hash: the one that ran is kept, so an edit never changes a running execution.
create table command_definitions (
    hash bytea primary key,
    slug text not null,
    version text not null default '',
    source text not null,
    first_used_at timestamptz not null default now(),
    constraint command_definitions_hash_size check (octet_length(hash) = 16)
);

-- Schedules: what runs by itself, and when. `next_due_at` is the first due time that is not dealt with; `wake_at` is
-- that with its jitter. What a command file declares has `declared_id`. Removed ones stay, for their history.
create table schedules (
    id uuid primary key,
    name text not null,
    slug text not null,
    declared_id text,
    cron text,
    every_us bigint,
    anchor timestamptz,
    at timestamptz,
    timezone text not null,
    jitter_us bigint not null default 0,
    misfire text not null,
    window_us bigint not null,
    overlap text not null,
    pause_after integer,
    inputs jsonb not null,
    user_name text not null,
    space_id uuid not null references spaces (id),
    priority smallint not null default 5,
    next_due_at timestamptz,
    wake_at timestamptz,
    paused_at timestamptz,
    pause_reason text,
    failures_since timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    removed_at timestamptz,
    constraint schedules_timing_is_one check (num_nonnulls(cron, every_us, at) = 1),
    constraint schedules_anchor_has_interval check (anchor is null or every_us is not null),
    constraint schedules_misfire_known check (misfire in ('skip', 'latest', 'all')),
    constraint schedules_overlap_known check (overlap in ('allow', 'skip', 'queue')),
    constraint schedules_pause_reason_known check (pause_reason in ('asked', 'failures')),
    constraint schedules_pause_has_reason check ((paused_at is null) = (pause_reason is null)),
    constraint schedules_wake_has_due_time check ((next_due_at is null) = (wake_at is null)),
    constraint schedules_priority_range check (priority between 0 and 9)
);

-- A name means one schedule, as long as it is there.
create unique index schedules_by_name on schedules (name) where removed_at is null;
-- What is declared is found again by where it is declared, also after it was gone for a while.
create unique index schedules_by_declaration on schedules (slug, declared_id) where declared_id is not null;
-- The tick: what is to be acted on next.
create index schedules_due on schedules (wake_at) where removed_at is null and paused_at is null;

-- Executions: Postgres is the authority; a message in Redis is only a hint.
create table command_executions (
    id uuid primary key,
    slug text not null,
    definition_hash bytea not null references command_definitions (hash),
    state text not null,
    lane text not null default 'default',
    priority smallint not null default 5,
    request_source text not null,
    dry_run boolean not null default false,
    user_name text not null,
    space_id uuid not null references spaces (id),
    correlation_id uuid not null,
    parent_id uuid references command_executions (id),
    link text,
    inputs jsonb not null,
    result jsonb,
    error jsonb,
    attempt integer not null default 0,
    fence bigint not null default 0,
    worker_id uuid,
    queued_at timestamptz not null,
    run_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    queue_wait_us bigint,
    running_us bigint not null default 0,
    steps_executed integer not null default 0,
    steps_successful integer not null default 0,
    steps_failed integer not null default 0,
    steps_skipped integer not null default 0,
    mutations_count integer not null default 0,
    queued_event_id uuid,
    finished_event_id uuid,
    slow boolean not null default false,
    slowest_step text,
    slowest_step_type text,
    slowest_step_us bigint,
    -- deaths: workers that were lost with it; deaths_alone: those where nothing else ran; failures: attempts that failed.
    -- alone: it runs only where nothing else does. failing: the error that ended its steps, and how it will have ended,
    -- while `on_failure` runs.
    deaths smallint not null default 0,
    deaths_alone smallint not null default 0,
    failures smallint not null default 0,
    alone boolean not null default false,
    failing jsonb,
    -- stopped: how a run was brought to its end, if it did not end by itself. expires_at: not to be begun later.
    stopped text,
    expires_at timestamptz,
    -- The step that asked for it and waits for it: one execution for each try of a step.
    parent_path text,
    parent_try smallint,
    schedule_id uuid references schedules (id),
    -- concurrency_key, _max: its key, and how many with it and its slug may run. slot_held: it is one of those that do,
    -- and stays one while it waits for another. parked: why claims do not look at a queued one, until that changes.
    concurrency_key text,
    concurrency_max integer,
    slot_held boolean not null default false,
    parked text,
    constraint command_executions_parked_known check (parked in ('concurrency', 'command')),
    constraint command_executions_parked_does_not_run check (
        parked is null or state not in ('scheduled', 'running', 'waiting')
    ),
    constraint command_executions_key_has_max check ((concurrency_key is null) = (concurrency_max is null)),
    constraint command_executions_slot_has_key check (not slot_held or concurrency_key is not null),
    constraint command_executions_final_holds_no_slot check (not slot_held or finished_at is null),
    -- When somebody ran it again or dropped it from the dead letters.
    handled_at timestamptz,
    constraint command_executions_child_has_step check (
        (link = 'child') = (parent_path is not null) and (parent_path is null) = (parent_try is null)
    ),
    constraint command_executions_stopped_known check (
        stopped in ('before_start', 'cooperatively', 'interrupted', 'killed')
    ),
    constraint command_executions_state_known check (
        state in ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'expired', 'dead')
    ),
    constraint command_executions_final_has_end check (
        (state in ('succeeded', 'failed', 'cancelled', 'expired', 'dead')) = (finished_at is not null)
    ),
    constraint command_executions_running_was_claimed check (state <> 'running' or (started_at is not null and attempt > 0)),
    constraint command_executions_link_has_parent check (
        (link is null or link = 'scheduled_by') = (parent_id is null)
    ),
    constraint command_executions_link_has_schedule check (
        (link is not distinct from 'scheduled_by') = (schedule_id is not null)
    ),
    constraint command_executions_link_known check (
        link in ('child', 'follows', 'retry_of', 'resumed_from', 'scheduled_by')
    ),
    constraint command_executions_priority_range check (priority between 0 and 9),
    constraint command_executions_source_known check (request_source in ('api', 'cli', 'schedule', 'chat', 'command')),
    constraint command_executions_only_slow_has_slowest check (
        slow or (slowest_step is null and slowest_step_type is null and slowest_step_us is null)
    )
);

-- Every claim steps over the dead entries of those before it: vacuum comes often, and never passes over the indexes.
alter table command_executions set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    vacuum_index_cleanup = on
);

-- The claim: the best due execution of a lane. A level of priority is worth a quarter of an hour of waiting. Holds only
-- what waits, so it stays small.
create index command_executions_due on command_executions (
    lane, ((run_at at time zone 'UTC') + priority * interval '15 minutes'), id
) where state = 'queued' and parked is null;

-- Who holds the places of a key, how many there are of a key, who waits for a place, best first. Of keyed ones only.
create index command_executions_holders on command_executions (slug, concurrency_key) where slot_held;
create index command_executions_keyed on command_executions (slug, concurrency_key)
    where concurrency_key is not null and finished_at is null;
create index command_executions_parked_by_key on command_executions (
    slug, concurrency_key, ((run_at at time zone 'UTC') + priority * interval '15 minutes'), id
) where state = 'queued' and parked = 'concurrency';
-- Who waits for a paused command, and all that is parked, by lane.
create index command_executions_parked_by_command on command_executions (slug, id)
    where state = 'queued' and parked = 'command';
create index command_executions_parked_by_lane on command_executions (lane) where state = 'queued' and parked is not null;
-- States that are rare, or that somebody watches; the many that succeeded are found by time.
create index command_executions_by_state on command_executions (state, id desc) where state <> 'succeeded';
create index command_executions_by_slug on command_executions (slug, id desc);
create index command_executions_by_correlation on command_executions (correlation_id);
create index command_executions_by_parent on command_executions (parent_id) where parent_id is not null;
create unique index command_executions_child_once on command_executions (parent_id, parent_path, parent_try)
where link = 'child';
-- Whose worker is gone: few rows, looked at by every sweep.
create index command_executions_running on command_executions (worker_id) where state = 'running';
-- What becomes due later.
create index command_executions_later on command_executions (run_at) where state = 'scheduled';
-- Only what was never begun expires, and few executions are to expire at all.
create index command_executions_expiring on command_executions (expires_at)
where expires_at is not null and attempt = 0 and state in ('queued', 'scheduled');
-- Dead letters that nobody has dealt with. What a step waits for is dealt with through the execution of that step.
create index command_executions_dead_letters on command_executions (state, finished_at desc, id desc)
where state in ('failed', 'dead') and handled_at is null and not dry_run and link is distinct from 'child';
-- The same by cause.
create index command_executions_dead_letters_by_cause on command_executions ((error ->> 'fingerprint'), id desc)
where state in ('failed', 'dead') and handled_at is null and not dry_run and link is distinct from 'child';
-- Slow ones are rare, and somebody looks for them.
create index command_executions_slow on command_executions (id desc) where slow;
-- Whether an execution of a schedule is not final: what decides on overlap.
create index command_executions_by_schedule on command_executions (schedule_id)
    where schedule_id is not null
        and state not in ('succeeded', 'failed', 'cancelled', 'expired', 'dead');

-- Who dealt with a dead letter, how and when; `requeued_as` is the execution that follows it.
create table dead_letter_handlings (
    execution_id uuid primary key references command_executions (id) on delete cascade,
    action text not null,
    user_name text,
    handled_at timestamptz not null default now(),
    requeued_as uuid references command_executions (id) on delete set null,
    constraint dead_letter_handlings_action_known check (action in ('requeued', 'dropped')),
    constraint dead_letter_handlings_dropped_has_no_successor check (action = 'requeued' or requeued_as is null)
);

create index dead_letter_handlings_by_successor on dead_letter_handlings (requeued_as) where requeued_as is not null;

-- Executions that were begun and retries that were granted, by command and minute: what a retry may be judged by. Written
-- only when a retry is asked for.
create table retry_counts (
    slug text not null,
    minute timestamptz not null,
    begun bigint not null default 0,
    retries bigint not null default 0,
    constraint retry_counts_pkey primary key (slug, minute)
);

create index retry_counts_by_age on retry_counts (minute);

-- What a caller submitted under a key of his own, so that a submission whose answer was lost can be sent again.
create table idempotency_keys (
    user_name text not null,
    slug text not null,
    key_hash bytea not null,
    body_hash bytea not null,
    execution_id uuid not null references command_executions (id) on delete cascade,
    created_at timestamptz not null default now(),
    constraint idempotency_keys_pkey primary key (user_name, slug, key_hash)
);

create index idempotency_keys_by_execution on idempotency_keys (execution_id);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- What a caller submitted in bulk under a key for all of it, so that the whole can be sent again: the answer it had.
create table bulk_keys (
    key_hash bytea not null,
    body_hash bytea not null,
    answer jsonb not null,
    created_at timestamptz not null default now(),
    constraint bulk_keys_pkey primary key (key_hash)
);

create index bulk_keys_by_age on bulk_keys (created_at);

-- Who asked that a running execution be stopped; apart from its row, whose lock its own effects hold.
-- killed_attempt: the attempt whose process was killed, because it could not be stopped otherwise.
create table command_stops (
    execution_id uuid primary key references command_executions (id) on delete cascade,
    reason text not null,
    requested_at timestamptz not null default now(),
    killed_attempt integer,
    constraint command_stops_reason_known check (reason in ('cancelled', 'timed_out'))
);

-- Processes that run executions. A lease is renewed by its worker and judged by this database's clock; a worker that
-- stops takes its row away, one that was killed leaves it to lapse.
create table workers (
    id uuid primary key,
    lane text not null,
    host text not null,
    process_id integer not null,
    started_at timestamptz not null default now(),
    lease_until timestamptz not null
);

create index workers_by_lease on workers (lease_until);

-- Pauses and limits that somebody set, of lanes and of commands. No row: none.
create table flow_controls (
    kind text not null,
    name text not null,
    paused_at timestamptz,
    paused_by text,
    paused_until timestamptz,
    max_running integer,
    max_queued integer,
    max_age_us bigint,
    updated_at timestamptz not null default now(),
    constraint flow_controls_pkey primary key (kind, name),
    constraint flow_controls_kind_known check (kind in ('lane', 'command')),
    constraint flow_controls_pause_is_whole check (
        (paused_at is null) = (paused_by is null) and (paused_until is null or paused_at is not null)
    ),
    constraint flow_controls_limits_are_of_lanes check (
        kind = 'lane' or (max_running is null and max_queued is null and max_age_us is null)
    ),
    constraint flow_controls_limits_positive check (max_running > 0 and max_queued > 0 and max_age_us > 0)
);

-- What is written for an execution whose fence does not hold fails, and with it the commit that was sent after it.
create function fence_lost() returns uuid language plpgsql as $$
begin
    raise exception using errcode = 'WF001', message = 'the execution is no longer held';
end
$$;

-- Why an execution does not run at this moment: null when it runs or has ended. At most 20 ids of others are named.
create function why_execution_waits(e command_executions) returns jsonb language sql stable as $$
    select case e.state
        when 'scheduled' then jsonb_build_object('reason', case when e.attempt > 0 then 'retry' else 'run_at' end)
        when 'waiting' then jsonb_build_object(
            'reason', 'children',
            'executions', (
                select jsonb_agg(c.id) from (
                    select id from command_executions
                    where parent_id = e.id and link = 'child' and finished_at is null
                    order by id
                    limit 20
                ) as c
            )
        )
        when 'running' then (
            -- It was claimed to run alone, and what ran in that process before is not done yet.
            select jsonb_build_object('reason', 'alone', 'executions', jsonb_agg(o.id))
            from (
                select id from command_executions
                where e.alone and state = 'running' and worker_id = e.worker_id and id <> e.id
                order by id
                limit 20
            ) as o
            having count(*) > 0
        )
        when 'queued' then coalesce(
            (
                select jsonb_strip_nulls(jsonb_build_object(
                    'reason', f.kind || '_paused',
                    'by', f.paused_by,
                    'until', to_char(f.paused_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
                ))
                from flow_controls as f
                where (f.kind, f.name) in (('lane', e.lane), ('command', e.slug))
                    and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
                order by f.kind desc
                limit 1
            ),
            (
                select jsonb_build_object(
                    'reason', 'concurrency',
                    'key', e.concurrency_key,
                    'max', e.concurrency_max,
                    'executions', (select jsonb_agg(id) from (select unnest(h.ids) as id limit 20) as named)
                )
                from (
                    select array_agg(id order by id) as ids, count(*) as number
                    from command_executions
                    where slug = e.slug and concurrency_key = e.concurrency_key and slot_held
                ) as h
                where not e.slot_held and h.number >= e.concurrency_max
            ),
            (
                select jsonb_build_object('reason', 'lane_limit', 'max', f.max_running)
                from flow_controls as f
                where f.kind = 'lane' and f.name = e.lane and f.max_running <= (
                    select count(*) from command_executions where state = 'running' and lane = e.lane
                )
            ),
            jsonb_build_object(
                'reason', 'worker',
                'workers', (select count(*) from workers where lane = e.lane and lease_until > now())
            )
        )
    end
$$;

-- Claims: one row per attempt at an execution; and why an attempt ended without ending its execution, and when the next
-- was to begin: a retry's row.
create table command_attempts (
    execution_id uuid not null references command_executions (id) on delete cascade,
    attempt integer not null,
    worker_id uuid not null,
    claimed_at timestamptz not null,
    queue_wait_us bigint not null,
    event_id uuid,
    released_at timestamptz,
    reason text,
    delay_us bigint,
    step_path text,
    error_type text,
    error_category text,
    error_fingerprint bytea,
    retried_event_id uuid,
    constraint command_attempts_pkey primary key (execution_id, attempt),
    constraint command_attempts_reason_known check (
        reason in ('failed', 'step_failed', 'worker_lost', 'worker_stopped', 'store_lost', 'waiting')
    ),
    constraint command_attempts_released_has_reason check (
        (released_at is null) = (reason is null) and (released_at is null) = (delay_us is null)
    )
);

-- The step ledger: one row per run of a step.
create table command_steps (
    execution_id uuid not null references command_executions (id) on delete cascade,
    path text not null,
    attempt integer not null,
    step_try integer not null,
    ordinal integer not null,
    step_type text not null,
    outcome text not null,
    occurred_at timestamptz not null,
    duration_us bigint not null,
    mutations_count integer not null default 0,
    fragment_id uuid,
    output jsonb,
    error jsonb,
    error_type text,
    error_category text,
    error_fingerprint bytea,
    measures jsonb,
    event_id uuid,
    -- Taken over from the execution that this one resumes: not run here, counted there, without an event of its own.
    restored_from uuid references command_executions (id) on delete set null,
    constraint command_steps_pkey primary key (execution_id, path, attempt, step_try),
    constraint command_steps_outcome_known check (outcome in ('succeeded', 'failed', 'skipped')),
    constraint command_steps_failed_has_facts check ((outcome = 'failed') = (error_type is not null))
);

-- The second guard of exactly-once effects: a step succeeds once in an execution, whoever ran it.
create unique index command_steps_succeed_once on command_steps (execution_id, path) where outcome = 'succeeded';
create index command_steps_in_order on command_steps (execution_id, ordinal);
create index command_steps_by_restored_from on command_steps (restored_from) where restored_from is not null;

-- Lists of map steps, frozen before their first child runs.
create table command_step_items (
    execution_id uuid not null references command_executions (id) on delete cascade,
    path text not null,
    items jsonb not null,
    constraint command_step_items_pkey primary key (execution_id, path),
    constraint command_step_items_is_list check (jsonb_typeof(items) = 'array')
);

-- What changed, by whom: one row per fragment or notification, one per statement for declared tables. `event_rows` is how
-- many rows its event stands for. A change without an execution (an import) says itself who made it.
create table mutations (
    id uuid primary key,
    execution_id uuid references command_executions (id) on delete cascade,
    step_path text,
    attempt integer,
    correlation_id uuid not null,
    entity text not null,
    entity_id uuid,
    operation text not null,
    changed_fields text[] not null default '{}',
    rows_count integer not null default 1,
    before_hash bytea,
    after_hash bytea,
    dry_run boolean not null default false,
    occurred_at timestamptz not null,
    event_id uuid,
    event_rows integer,
    request_source text,
    user_name text,
    space_id uuid references spaces (id),
    constraint mutations_operation_known check (operation in ('created', 'updated', 'deleted')),
    constraint mutations_step_has_execution check (step_path is null or execution_id is not null),
    constraint mutations_event_has_rows check ((event_id is null) = (event_rows is null)),
    constraint mutations_say_who check (
        execution_id is not null or (request_source is not null and user_name is not null and space_id is not null)
    )
);

create index mutations_by_execution on mutations (execution_id, id) where execution_id is not null;
create index mutations_by_entity on mutations (entity, entity_id) where entity_id is not null;

-- The inbox: what `notify` steps tell a person.
create table notifications (
    id uuid primary key,
    space_id uuid not null references spaces (id),
    execution_id uuid references command_executions (id) on delete set null,
    user_name text not null,
    level text not null,
    message text not null,
    created_at timestamptz not null,
    read_at timestamptz,
    constraint notifications_level_known check (level in ('info', 'warning', 'error'))
);

create index notifications_newest on notifications (space_id, id desc);
create index notifications_by_execution on notifications (execution_id) where execution_id is not null;

-- Every due time that was dealt with, once. `calendar` is a schedule's own due time; `backfill` one that somebody asked
-- for again; `manual` a run now, due when it was asked for. A stretch of due times that nobody ran in a row is one row:
-- `last_due_at` and `due_times` say how far and how many. The row carries its event.
create table schedule_occurrences (
    schedule_id uuid not null references schedules (id),
    due_at timestamptz not null,
    origin text not null,
    state text not null,
    reason text,
    last_due_at timestamptz not null,
    due_times integer not null default 1,
    fire_at timestamptz not null,
    occurred_at timestamptz not null,
    lateness_us bigint,
    execution_id uuid references command_executions (id) on delete set null,
    slug text not null,
    definition_hash bytea,
    user_name text not null,
    space_id uuid not null references spaces (id),
    correlation_id uuid not null,
    event_id uuid,
    constraint schedule_occurrences_pkey primary key (schedule_id, due_at, origin),
    constraint schedule_occurrences_origin_known check (origin in ('calendar', 'backfill', 'manual')),
    constraint schedule_occurrences_state_known check (
        state in ('waiting', 'fired', 'late', 'caught_up', 'skipped', 'missed')
    ),
    constraint schedule_occurrences_reason_known check (
        reason in (
            'late', 'superseded', 'window', 'overlap', 'queue_full', 'paused', 'removed', 'command_unknown',
            'command_invalid', 'inputs_invalid', 'secrets_missing'
        )
    ),
    constraint schedule_occurrences_not_run_has_reason check ((state in ('skipped', 'missed')) = (reason is not null)),
    constraint schedule_occurrences_run_has_lateness check (
        (state in ('fired', 'late', 'caught_up')) = (lateness_us is not null)
    ),
    constraint schedule_occurrences_stretch_is_not_run check (
        (due_times = 1 and last_due_at = due_at) or (state in ('skipped', 'missed') and last_due_at > due_at)
    ),
    constraint schedule_occurrences_hash_size check (octet_length(definition_hash) = 16)
);

-- A due time is run once, however it came to be.
create unique index schedule_occurrences_run_once on schedule_occurrences (schedule_id, due_at)
    where state in ('waiting', 'fired', 'late', 'caught_up');
-- Those that wait for their turn, oldest first.
create index schedule_occurrences_waiting on schedule_occurrences (schedule_id, due_at) where state = 'waiting';
create index schedule_occurrences_by_execution on schedule_occurrences (execution_id) where execution_id is not null;
-- The last occurrences of a schedule, whatever became of them: how many of them failed.
create index schedule_occurrences_newest on schedule_occurrences (schedule_id, occurred_at desc, due_at desc);
-- Up to which due time everything is told, and when the last run now was.
create index schedule_occurrences_told on schedule_occurrences (schedule_id, last_due_at) where origin <> 'manual';
create index schedule_occurrences_manual on schedule_occurrences (schedule_id, due_at) where origin = 'manual';

-- Every stored event. Fixed-width columns first: no padding between them. Partitioned by day on the time inside the id.
create table telemetry_events (
    event_id uuid not null,
    correlation_id uuid not null,
    execution_id uuid,
    parent_id uuid,
    space_id uuid,
    fragment_id uuid,
    occurred_at timestamptz not null,
    duration_us bigint,
    mutations_count integer,
    attempt smallint,
    step_try smallint,
    dry_run boolean not null,
    event_type text not null,
    component text not null,
    operation text not null,
    level text not null,
    request_source text not null,
    command_slug text,
    step_path text,
    step_type text,
    outcome text,
    error_type text,
    error_category text,
    user_id bytea,
    definition_hash bytea,
    error_fingerprint bytea,
    measures jsonb,
    constraint telemetry_events_pkey primary key (event_id)
) partition by range (event_id);

create index telemetry_events_correlation on telemetry_events (correlation_id);
create index telemetry_events_slug on telemetry_events (command_slug);
create index telemetry_events_errors on telemetry_events (error_fingerprint) where error_fingerprint is not null;
create index telemetry_events_failed on telemetry_events (event_id) where level = 'error' and error_fingerprint is null;

-- Every producer of events, by epoch (one for each recorder and each fork): which numbers it has given, which have
-- arrived, what it dropped by type. `seen` counts every event that arrived, stored, repeated or quarantined. `healed_*` is
-- how far the ledger was compared, and what was missing of it given back.
create table telemetry_producers (
    epoch uuid primary key,
    producer text not null,
    heard_at timestamptz not null default now(),
    seen int8multirange not null default '{}',
    given bigint not null default 0,
    dropped jsonb not null default '{}',
    rung text not null default 'normal',
    waits_since timestamptz,
    closed_at timestamptz,
    healed_at timestamptz,
    healed_given bigint,
    healed_dropped jsonb,
    constraint telemetry_producers_rung_known check (rung in ('normal', 'spooling', 'dropping')),
    constraint telemetry_producers_given_not_negative check (given >= 0)
);

create index telemetry_producers_heard on telemetry_producers (heard_at);
create index telemetry_producers_open on telemetry_producers (epoch) where closed_at is null;

-- Every transaction that stored events: what follows events without missing any reads these below the oldest running
-- transaction. `minutes` are those since 1970 that it touched.
create table telemetry_batches (
    id bigint generated always as identity primary key,
    written_by xid8 not null default pg_current_xact_id(),
    stored_at timestamptz not null default now(),
    events integer not null,
    duplicates integer not null default 0,
    minutes int4multirange not null default '{}',
    reconciled boolean not null default false
);

-- What is read below the oldest running transaction is read in this order, from where the last round ended.
create index telemetry_batches_in_order on telemetry_batches (written_by, id);

-- Events that could not be stored: why, and their form without their content. `payload` only of those whose every field is
-- of the catalogue, or that a newer version of Weir has written: they can be replayed.
create table telemetry_quarantine (
    id uuid primary key,
    quarantined_at timestamptz not null default now(),
    reason text not null,
    event_type text,
    event_id uuid,
    epoch uuid,
    number bigint,
    shape jsonb not null,
    size_bytes integer not null,
    payload bytea,
    constraint telemetry_quarantine_reason_known check (
        reason in ('undecodable', 'unknown_type', 'newer_version', 'malformed', 'refused', 'entry_malformed')
    )
);

create index telemetry_quarantine_by_reason on telemetry_quarantine (reason, id desc);
create unique index telemetry_quarantine_by_number on telemetry_quarantine (epoch, number) where epoch is not null;

-- Events that were made again from their ledger row, because the one that was recorded has never arrived.
create table telemetry_reconciled (
    event_id uuid primary key,
    epoch uuid,
    reconciled_at timestamptz not null default now()
);

-- What the ledger is compared by: a stretch of time is a stretch of event ids.
create index command_executions_queued_events on command_executions (queued_event_id) where queued_event_id <> id;
create index command_executions_final_events on command_executions (finished_event_id) where finished_event_id is not null;
create index command_attempts_events on command_attempts (event_id) where event_id is not null;
create index command_attempts_retry_events on command_attempts (retried_event_id) where retried_event_id is not null;
create index command_steps_events on command_steps (event_id) where event_id is not null;
create index mutations_events on mutations (event_id) where event_id is not null;
create index schedule_occurrences_events on schedule_occurrences (event_id) where event_id is not null;
create index telemetry_quarantine_events on telemetry_quarantine (event_id) where event_id is not null;

-- Every event that a row of the ledger stands for, and what kind of row that is. Ids sort by time: whoever asks for a
-- stretch of them reads that stretch of eight indexes. The event of an acceptance has the id of its execution, and needs
-- no index of its own: every update of an execution writes a new entry into each. Those of other ids (of children) are
-- few.
create view ledger_events as
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

-- When a sink last found nothing new in the stream: one row. Then, too, something is known of who was not heard of.
create table telemetry_stream (
    id integer primary key default 1,
    looked_at timestamptz not null,
    constraint telemetry_stream_is_one check (id = 1)
);

-- Each trace in one row, built from its stored events, and again whenever more of them arrive. `status`: of the executions
-- that no other of the trace has begun; of requests, where there are none. `depth`: levels of executions that began
-- each other, 0 without any. `errors`: events of level error. A trace of more events than are counted is `truncated`.
-- `user_id` is a keyed hash. Telemetry's own events make no trace. One of which some events are gone is `cut`.
create table telemetry_correlation_chains (
    correlation_id uuid primary key,
    first_event_id uuid not null,
    last_event_id uuid not null,
    status text not null,
    depth integer not null,
    events integer not null,
    executions integer not null,
    steps integer not null,
    errors integer not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    duration_us bigint not null,
    truncated boolean not null,
    root_execution_id uuid,
    command_slug text,
    request_source text not null,
    user_id bytea,
    space_id uuid,
    components text[] not null,
    cut boolean not null default false,
    constraint telemetry_correlation_chains_status_known check (
        status in ('running', 'succeeded', 'failed', 'cancelled')
    ),
    constraint telemetry_correlation_chains_counts_not_negative check (
        depth >= 0 and events > 0 and executions >= 0 and steps >= 0 and errors >= 0 and duration_us >= 0
    )
);

create index telemetry_correlation_chains_newest on telemetry_correlation_chains (first_event_id);
create index telemetry_correlation_chains_by_status on telemetry_correlation_chains (status, first_event_id);
create index telemetry_correlation_chains_by_end on telemetry_correlation_chains (last_event_id);

-- How far the batches were followed: one row. Those up to (`read_xid`, `read_batch`) are read; of the minutes they
-- touched, `minutes` are still to be gone through, from `next_event_id` on. `finished_at`: when nothing was left.
create table telemetry_chain_progress (
    id integer primary key default 1,
    read_xid xid8 not null default '0',
    read_batch bigint not null default 0,
    minutes int4multirange not null default '{}',
    next_event_id uuid,
    finished_at timestamptz,
    constraint telemetry_chain_progress_is_one check (id = 1)
);

insert into telemetry_chain_progress default values;

-- What was looked at once in each window (five minutes, say), and how it was. `value` is what was measured, in `unit`.
create table telemetry_health_checks (
    id uuid primary key,
    window_at timestamptz not null,
    checked_at timestamptz not null,
    name text not null,
    component text not null,
    status text not null,
    value float8,
    unit text,
    constraint telemetry_health_checks_status_known check (status in ('healthy', 'warning', 'critical', 'unknown'))
);

create unique index telemetry_health_checks_once on telemetry_health_checks (window_at, name, component);

-- How a process, a lane, a command or a step type did in one window of `window_us` from `window_at` on. A process writes its
-- own row: memory, share of one processor, threads, what it runs at a time, what its recorder keeps and lost since it
-- began, how far its clock is ahead of the database's. `runs` and durations are of the events that were stored when the
-- window was looked at; percentiles are nearest rank; `class` is that of `p95_us`.
create table telemetry_performance_snapshots (
    id uuid primary key,
    window_at timestamptz not null,
    window_us bigint not null,
    subject text not null,
    name text not null,
    host text,
    process_id integer,
    memory_bytes bigint,
    cpu_share float8,
    threads integer,
    slots integer,
    slots_taken integer,
    events_waiting bigint,
    events_spooled bigint,
    events_dropped bigint,
    clock_skew_us bigint,
    queued bigint,
    running bigint,
    oldest_us bigint,
    runs bigint,
    failures bigint,
    p50_us bigint,
    p95_us bigint,
    p99_us bigint,
    max_us bigint,
    total_us bigint,
    class text,
    constraint telemetry_performance_snapshots_subject_known check (subject in ('process', 'lane', 'command', 'step_type')),
    constraint telemetry_performance_snapshots_class_known check (class in ('fast', 'normal', 'slow', 'critical')),
    constraint telemetry_performance_snapshots_process_named check (
        (subject = 'process') = (host is not null and process_id is not null)
    ),
    constraint telemetry_performance_snapshots_class_of_runs check ((class is null) = (runs is null))
);

create unique index telemetry_performance_snapshots_once on telemetry_performance_snapshots (
    window_at, subject, name, host, process_id
) nulls not distinct;

-- Where in the code an error arose, once for each fingerprint: modules, functions and lines of Weir and of installed step
-- types, never messages or values. Taken from the rows of failed steps and executions.

create table telemetry_error_frames (
    id uuid primary key,
    fingerprint bytea not null,
    error_type text not null,
    frames text[] not null,
    noted_at timestamptz not null default now(),
    constraint telemetry_error_frames_once unique (fingerprint),
    constraint telemetry_error_frames_bounded check (cardinality(frames) <= 50)
);

-- What is kept of days that were dropped: errors, pinned traces, and the beginning of traces that end in a later day. The
-- same columns as telemetry_events.
create table telemetry_events_kept (
    event_id uuid not null,
    correlation_id uuid not null,
    execution_id uuid,
    parent_id uuid,
    space_id uuid,
    fragment_id uuid,
    occurred_at timestamptz not null,
    duration_us bigint,
    mutations_count integer,
    attempt smallint,
    step_try smallint,
    dry_run boolean not null,
    event_type text not null,
    component text not null,
    operation text not null,
    level text not null,
    request_source text not null,
    command_slug text,
    step_path text,
    step_type text,
    outcome text,
    error_type text,
    error_category text,
    user_id bytea,
    definition_hash bytea,
    error_fingerprint bytea,
    measures jsonb,
    constraint telemetry_events_kept_pkey primary key (event_id)
);

create index telemetry_events_kept_correlation on telemetry_events_kept (correlation_id);
create index telemetry_events_kept_slug on telemetry_events_kept (command_slug);
create index telemetry_events_kept_errors on telemetry_events_kept (error_fingerprint)
    where error_fingerprint is not null;
-- Those that go with the last day of their trace.
create index telemetry_events_kept_passing on telemetry_events_kept (event_id)
    where level <> 'error' and error_fingerprint is null;

-- Traces that no cleaning takes.
create table telemetry_pins (
    correlation_id uuid primary key,
    pinned_at timestamptz not null default now()
);

-- Days, and days of one component, whose events are deleted: `component` is empty for a whole day. Rows of the ledger of
-- these kinds whose event id is in that stretch have no event any more, and it is not made again.
create table telemetry_sealed (
    day date not null,
    component text not null,
    first_id uuid not null,
    end_id uuid not null,
    kinds text[] not null,
    sealed_at timestamptz not null default now(),
    constraint telemetry_sealed_pkey primary key (day, component),
    constraint telemetry_sealed_ids_ordered check (first_id < end_id)
);

-- When cleaning last came to its end: one row.
create table telemetry_cleaning (
    id integer primary key default 1,
    finished_at timestamptz not null,
    constraint telemetry_cleaning_is_one check (id = 1)
);

-- The bin of a value: how many of these bounds are not above it; ceil(2^(i/32)), each once (telemetry.rollups.histogram).
create function histogram_bin(value bigint) returns smallint
language sql immutable strict parallel safe
return width_bucket(
    value,
    '{
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
        31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 57, 58,
        59, 60, 62, 63, 64, 66, 67, 69, 70, 72, 73, 75, 77, 78, 80, 82, 83, 85, 87, 89, 91, 93, 95, 97, 99, 101, 104,
        106, 108, 110, 113, 115, 118, 120, 123, 126, 128, 131, 134, 137, 140, 143, 146, 149, 153, 156, 159, 163, 166,
        170, 174, 178, 182, 185, 190, 194, 198, 202, 207, 211, 216, 220, 225, 230, 235, 240, 246, 251, 256, 262, 268,
        274, 280, 286, 292, 298, 305, 312, 318, 325, 332, 340, 347, 355, 363, 370, 379, 387, 395, 404, 413, 422, 431,
        440, 450, 460, 470, 480, 491, 502, 512, 524, 535, 547, 559, 571, 584, 596, 609, 623, 636, 650, 664, 679, 694,
        709, 725, 740, 757, 773, 790, 807, 825, 843, 862, 880, 900, 919, 940, 960, 981, 1003, 1024, 1047, 1070, 1093,
        1117, 1142, 1167, 1192, 1218, 1245, 1272, 1300, 1328, 1358, 1387, 1418, 1449, 1480, 1513, 1546, 1580, 1614,
        1650, 1686, 1723, 1760, 1799, 1838, 1879, 1920, 1962, 2005, 2048, 2093, 2139, 2186, 2234, 2283, 2333, 2384,
        2436, 2489, 2544, 2600, 2656, 2715, 2774, 2835, 2897, 2960, 3025, 3091, 3159, 3228, 3299, 3371, 3445, 3520,
        3597, 3676, 3757, 3839, 3923, 4009, 4096, 4186, 4278, 4372, 4467, 4565, 4665, 4767, 4871, 4978, 5087, 5199,
        5312, 5429, 5548, 5669, 5793, 5920, 6050, 6182, 6317, 6456, 6597, 6742, 6889, 7040, 7194, 7352, 7513, 7677,
        7845, 8017, 8192, 8372, 8555, 8743, 8934, 9130, 9329, 9534, 9742, 9956, 10174, 10397, 10624, 10857, 11095,
        11337, 11586, 11839, 12099, 12364, 12634, 12911, 13194, 13483, 13778, 14079, 14388, 14703, 15025, 15354,
        15690, 16033, 16384, 16743, 17110, 17485, 17867, 18259, 18658, 19067, 19484, 19911, 20347, 20793, 21248,
        21713, 22189, 22674, 23171, 23678, 24197, 24727, 25268, 25821, 26387, 26965, 27555, 28158, 28775, 29405,
        30049, 30707, 31379, 32066, 32768, 33486, 34219, 34969, 35734, 36517, 37316, 38133, 38968, 39822, 40694,
        41585, 42495, 43426, 44377, 45348, 46341, 47356, 48393, 49453, 50536, 51642, 52773, 53929, 55109, 56316,
        57549, 58810, 60097, 61413, 62758, 64132, 65536, 66972, 68438, 69937, 71468, 73033, 74632, 76266, 77936,
        79643, 81387, 83169, 84990, 86851, 88753, 90696, 92682, 94712, 96786, 98905, 101071, 103284, 105546, 107857,
        110218, 112632, 115098, 117619, 120194, 122826, 125515, 128264, 131072, 133943, 136876, 139873, 142936,
        146065, 149264, 152532, 155872, 159285, 162773, 166338, 169980, 173702, 177505, 181392, 185364, 189423,
        193571, 197810, 202141, 206567, 211091, 215713, 220436, 225263, 230196, 235237, 240388, 245651, 251030,
        256527, 262144, 267885, 273751, 279745, 285871, 292130, 298527, 305064, 311744, 318570, 325546, 332675,
        339959, 347403, 355010, 362784, 370728, 378846, 387142, 395619, 404282, 413134, 422181, 431425, 440872,
        450526, 460391, 470473, 480775, 491302, 502060, 513054, 524288, 535769, 547501, 559489, 571741, 584260,
        597054, 610127, 623488, 637140, 651092, 665349, 679918, 694806, 710020, 725568, 741456, 757691, 774283,
        791237, 808563, 826268, 844361, 862850, 881744, 901052, 920782, 940945, 961549, 982604, 1004120, 1026108,
        1048576, 1071537, 1095001, 1118978, 1143481, 1168520, 1194107, 1220254, 1246975, 1274280, 1302183, 1330697,
        1359835, 1389612, 1420040, 1451135, 1482911, 1515382, 1548565, 1582474, 1617126, 1652536, 1688722, 1725700,
        1763488, 1802103, 1841564, 1881889, 1923097, 1965208, 2008240, 2052215, 2097152, 2143074, 2190001, 2237956,
        2286961, 2337039, 2388213, 2440508, 2493949, 2548559, 2604365, 2661393, 2719670, 2779223, 2840080, 2902270,
        2965821, 3030764, 3097129, 3164948, 3234251, 3305072, 3377444, 3451400, 3526976, 3604206, 3683128, 3763778,
        3846194, 3930415, 4016480, 4104429, 4194304, 4286148, 4380002, 4475912, 4573921, 4674077, 4776426, 4881016,
        4987897, 5097117, 5208730, 5322786, 5439340, 5558446, 5680160, 5804539, 5931642, 6061528, 6194258, 6329895,
        6468502, 6610143, 6754887, 6902799, 7053951, 7208412, 7366256, 7527556, 7692388, 7860829, 8032959, 8208858,
        8388608, 8572295, 8760004, 8951823, 9147842, 9348154, 9552852, 9762032, 9975793, 10194234, 10417459, 10645572,
        10878679, 11116891, 11360319, 11609078, 11863284, 12123056, 12388516, 12659789, 12937003, 13220286, 13509773,
        13805598, 14107901, 14416824, 14732511, 15055111, 15384775, 15721658, 16065918, 16417715, 16777216, 17144590,
        17520007, 17903646, 18295684, 18696308, 19105703, 19524064, 19951585, 20388468, 20834917, 21291143, 21757358,
        22233782, 22720638, 23218156, 23726567, 24246111, 24777032, 25319578, 25874005, 26440572, 27019545, 27611196,
        28215802, 28833648, 29465022, 30110222, 30769550, 31443316, 32131835, 32835430, 33554432, 34289179, 35040014,
        35807291, 36591368, 37392615, 38211406, 39048127, 39903170, 40776935, 41669834, 42582285, 43514715, 44467563,
        45441276, 46436311, 47453133, 48492222, 49554063, 50639156, 51748009, 52881143, 54039089, 55222391, 56431604,
        57667295, 58930044, 60220444, 61539100, 62886631, 64263669, 65670860, 67108864, 68578357, 70080028, 71614581,
        73182736, 74785229, 76422812, 78096254, 79806339, 81553870, 83339668, 85164569, 87029430, 88935126, 90882552,
        92872621, 94906266, 96984443, 99108125, 101278311, 103496017, 105762285, 108078177, 110444781, 112863207,
        115334589, 117860088, 120440888, 123078200, 125773261, 128527337, 131341719, 134217728, 137156714, 140160055,
        143229161, 146365471, 149570457, 152845624, 156192507, 159612678, 163107740, 166679335, 170329137, 174058859,
        177870252, 181765103, 185745241, 189812532, 193968885, 198216250, 202556621, 206992034, 211524569, 216156354,
        220889562, 225726413, 230669178, 235720175, 240881775, 246156399, 251546522, 257054674, 262683438, 268435456,
        274313428, 280320109, 286458321, 292730941, 299140914, 305691247, 312385014, 319225355, 326215480, 333358669,
        340658273, 348117718, 355740503, 363530206, 371490481, 379625063, 387937769, 396432500, 405113242, 413984067,
        423049137, 432312707, 441779123, 451452826, 461338355, 471440350, 481763549, 492312797, 503093044, 514109347,
        525366876, 536870912, 548626855, 560640218, 572916641, 585461881, 598281827, 611382493, 624770027, 638450709,
        652430959, 666717337, 681316545, 696235435, 711481006, 727060411, 742980961, 759250125, 775875538, 792865000,
        810226483, 827968133, 846098274, 864625414, 883558245, 902905651, 922676710, 942880700, 963527098, 984625594,
        1006186087, 1028218694, 1050733751, 1073741824, 1097253709, 1121280436, 1145833281, 1170923762, 1196563654,
        1222764986, 1249540053, 1276901417, 1304861917, 1333434673, 1362633090, 1392470869, 1422962011, 1454120822,
        1485961921, 1518500250, 1551751076, 1585730000, 1620452966, 1655936265, 1692196548, 1729250827, 1767116489,
        1805811302, 1845353420, 1885761399, 1927054196, 1969251188, 2012372174, 2056437387, 2101467502, 2147483648,
        2194507417, 2242560872, 2291666561, 2341847524, 2393127308, 2445529972, 2499080105, 2553802834, 2609723834,
        2666869345, 2725266180, 2784941738, 2845924021, 2908241643, 2971923842, 3037000500, 3103502152, 3171460000,
        3240905931, 3311872530, 3384393095, 3458501654, 3534232978, 3611622603, 3690706840, 3771522797, 3854108392,
        3938502376, 4024744348, 4112874774, 4202935004, 4294967296, 4389014834, 4485121744, 4583333122, 4683695048,
        4786254615, 4891059944, 4998160210, 5107605668, 5219447668, 5333738690, 5450532359, 5569883476, 5691848042,
        5816483285, 5943847684, 6074001000, 6207004303, 6342919999, 6481811861, 6623745059, 6768786189, 6917003307,
        7068465956, 7223245206, 7381413680, 7543045593, 7708216783, 7877004752, 8049488696, 8225749547, 8405870007,
        8589934592, 8778029667, 8970243488, 9166666243, 9367390096, 9572509230, 9782119887, 9996320420, 10215211335,
        10438895336, 10667477379, 10901064717, 11139766951, 11383696084, 11632966570, 11887695368, 12148002000,
        12414008606, 12685839998, 12963623722, 13247490118, 13537572378, 13834006613, 14136931912, 14446490412,
        14762827360, 15086091185, 15416433566, 15754009504, 16098977392, 16451499093, 16811740014, 17179869184,
        17556059334, 17940486975, 18333332485, 18734780192, 19145018459, 19564239774, 19992640840, 20430422669,
        20877790671, 21334954757, 21802129433, 22279533902, 22767392168, 23265933139, 23775390735, 24296004000,
        24828017212, 25371679995, 25927247444, 26494980235, 27075144756, 27668013225, 28273863824, 28892980823,
        29525654719, 30172182370, 30832867132, 31508019007, 32197954783, 32902998186, 33623480028, 34359738368,
        35112118667, 35880973949, 36666664970, 37469560383, 38290036917, 39128479547, 39985281680, 40860845337,
        41755581342, 42669909514, 43604258865, 44559067804, 45534784335, 46531866277, 47550781470, 48592008000,
        49656034423, 50743359990, 51854494887, 52989960470, 54150289511, 55336026450, 56547727648, 57785961646,
        59051309438, 60344364739, 61665734264, 63016038014, 64395909566, 65805996371, 67246960056, 68719476736,
        70224237334, 71761947898, 73333329939, 74939120766, 76580073833, 78256959094, 79970563360, 81721690674,
        83511162683, 85339819027, 87208517730, 89118135607, 91069568670, 93063732553, 95101562939, 97184016000,
        99312068845, 101486719980, 103708989773, 105979920939, 108300579022, 110672052900, 113095455295, 115571923291,
        118102618876, 120688729478, 123331468528, 126032076028, 128791819132, 131611992741, 134493920111,
        137438953472, 140448474668, 143523895796, 146666659877, 149878241531, 153160147666, 156513918187,
        159941126720, 163443381348, 167022325366, 170679638053, 174417035460, 178236271213, 182139137339,
        186127465105, 190203125877, 194368031999, 198624137689, 202973439959, 207417979546, 211959841878,
        216601158044, 221344105800, 226190910589, 231143846582, 236205237751, 241377458955, 246662937056,
        252064152056, 257583638264, 263223985482, 268987840221, 274877906944, 280896949335, 287047791591,
        293333319754, 299756483062, 306320295331, 313027836374, 319882253440, 326886762695, 334044650731,
        341359276105, 348834070919, 356472542425, 364278274678, 372254930210, 380406251754, 388736063997,
        397248275378, 405946879917, 414835959092, 423919683755, 433202316088, 442688211600, 452381821177,
        462287693164, 472410475502, 482754917910, 493325874111, 504128304111, 515167276527, 526447970963,
        537975680442, 549755813888, 561793898669, 574095583181, 586666639507, 599512966123, 612640590662,
        626055672748, 639764506879, 653773525390, 668089301462, 682718552210, 697668141837, 712945084850,
        728556549355, 744509860419, 760812503507, 777472127994, 794496550755, 811893759833, 829671918183,
        847839367510, 866404632175, 885376423200, 904763642354, 924575386327, 944820951003, 965509835819,
        986651748221, 1008256608222, 1030334553053, 1052895941925, 1075951360883, 1099511627776, 1123587797337,
        1148191166361, 1173333279014, 1199025932246, 1225281181324, 1252111345495, 1279529013758, 1307547050780,
        1336178602923, 1365437104420, 1395336283673, 1425890169699, 1457113098709, 1489019720838, 1521625007014,
        1554944255988, 1588993101510, 1623787519665, 1659343836365, 1695678735019, 1732809264349, 1770752846400,
        1809527284707, 1849150772654, 1889641902006, 1931019671638, 1973303496442, 2016513216443, 2060669106106,
        2105791883850, 2151902721765, 2199023255552, 2247175594673, 2296382332722, 2346666558028, 2398051864491,
        2450562362648, 2504222690989, 2559058027516, 2615094101559, 2672357205846, 2730874208839, 2790672567346,
        2851780339398, 2914226197418, 2978039441675, 3043250014027, 3109888511976, 3177986203020, 3247575039329,
        3318687672730, 3391357470037, 3465618528697, 3541505692799, 3619054569413, 3698301545307, 3779283804012,
        3862039343275, 3946606992883, 4033026432885, 4121338212212, 4211583767699, 4303805443529, 4398046511104,
        4494351189346, 4592764665443, 4693333116055, 4796103728981, 4901124725295, 5008445381977, 5118116055032,
        5230188203118, 5344714411691, 5461748417678, 5581345134691, 5703560678795, 5828452394836, 5956078883350,
        6086500028054, 6219777023951, 6355972406040, 6495150078657, 6637375345460, 6782714940073, 6931237057394,
        7083011385597, 7238109138826, 7396603090613, 7558567608024, 7724078686549, 7893213985765, 8066052865770,
        8242676424423, 8423167535397, 8607610887058, 8796093022208, 8988702378691, 9185529330885, 9386666232110,
        9592207457961, 9802249450589, 10016890763954, 10236232110064, 10460376406236, 10689428823381, 10923496835355,
        11162690269381, 11407121357590, 11656904789672, 11912157766699, 12173000056107, 12439554047902,
        12711944812080, 12990300157313, 13274750690920, 13565429880145, 13862474114787, 14166022771193,
        14476218277651, 14793206181226, 15117135216048, 15448157373098, 15786427971529, 16132105731539,
        16485352848846, 16846335070793, 17215221774115, 17592186044416, 17977404757382, 18371058661770,
        18773332464220, 19184414915922, 19604498901178, 20033781527907, 20472464220127, 20920752812472,
        21378857646762, 21846993670709, 22325380538762, 22814242715179, 23313809579344, 23824315533397,
        24346000112214, 24879108095804, 25423889624160, 25980600314626, 26549501381839, 27130859760289,
        27724948229574, 28332045542385, 28952436555302, 29586412362452, 30234270432095, 30896314746195,
        31572855943057, 32264211463077, 32970705697692, 33692670141585, 34430443548230, 35184372088832,
        35954809514763, 36742117323539, 37546664928439, 38368829831843, 39208997802356, 40067563055813,
        40944928440254, 41841505624943, 42757715293524, 43693987341417, 44650761077523, 45628485430357,
        46627619158688, 47648631066793, 48692000224428, 49758216191608, 50847779248319, 51961200629252,
        53099002763677, 54261719520578, 55449896459148, 56664091084770, 57904873110603, 59172824724904,
        60468540864189, 61792629492390, 63145711886113, 64528422926154, 65941411395383, 67385340283170,
        68860887096459, 70368744177664, 71909619029526, 73484234647077, 75093329856878, 76737659663686,
        78417995604711, 80135126111625, 81889856880508, 83683011249885, 85515430587048, 87387974682833,
        89301522155045, 91256970860713, 93255238317375, 95297262133585, 97384000448855, 99516432383216,
        101695558496638, 103922401258503, 106198005527353, 108523439041156, 110899792918296, 113328182169539,
        115809746221206, 118345649449807, 120937081728378, 123585258984779, 126291423772226, 129056845852307,
        131882822790766, 134770680566340, 137721774192918, 140737488355328
    }'::bigint[]
)::smallint;

-- `width` is of the bucket that begins at `starts_at`, UTC. Each dimension has all events: by `operation`, by `space_id`, or
-- by `user_id`, and never by two of them. `measured` of the events have a value for this measure; `total`, `least` and
-- `greatest` are of these, `bins` has those that are not empty, in order, and `counts` how many values each has. `last_at`
-- is when the last of the events occurred. The operation of a request of HTTP is its method and route.
create table telemetry_metrics (
    starts_at timestamptz not null,
    events bigint not null,
    errors bigint not null,
    measured bigint not null,
    total bigint not null,
    least bigint,
    greatest bigint,
    last_at timestamptz not null,
    space_id uuid,
    scale smallint not null default 5,
    dry_run boolean not null,
    width text not null,
    dimension text not null,
    measure text not null,
    component text not null,
    event_type text not null,
    level text not null,
    operation text,
    outcome text,
    error_category text,
    user_id bytea,
    bins smallint[] not null,
    counts bigint[] not null,
    constraint telemetry_metrics_width_known check (width in ('minute', 'hour', 'day')),
    constraint telemetry_metrics_dimension_known check (dimension in ('operation', 'space', 'user')),
    constraint telemetry_metrics_counts_fit check (
        events > 0 and errors >= 0 and measured >= 0 and measured <= events and cardinality(bins) = cardinality(counts)
    ),
    constraint telemetry_metrics_range_known check (
        (measured = 0) = (least is null) and (measured = 0) = (greatest is null) and (measured = 0) = (bins = '{}')
    )
);

create unique index telemetry_metrics_once on telemetry_metrics (
    dimension, width, starts_at, event_type, measure, level, dry_run, operation, outcome, error_category, space_id, user_id
) nulls not distinct;

-- One row. `view` is what was visible when batches were last taken in; of these `minutes` have to be made still (since
-- 1970), and `hours` and `days` of them. `member_minutes` are not in the hours by space and by user; of an hour that is
-- in it from end to end nothing is, whatever is there. What is older than `minutes_from` and `hours_from` is not kept at
-- that width. A bucket is clean if it is in none of these and no batch outside `view` has it. Minutes that were over long
-- ago were all made at `late_at`, and hours by space and by user had all of theirs at `members_at`, for the last time.
create table telemetry_rollup_progress (
    id integer primary key default 1,
    view pg_snapshot not null default '1:1:',
    minutes int4multirange not null default '{}',
    hours int4multirange not null default '{}',
    member_minutes int4multirange not null default '{}',
    days int4multirange not null default '{}',
    minutes_from integer not null default 0,
    hours_from integer not null default 0,
    late_at timestamptz,
    members_at timestamptz,
    constraint telemetry_rollup_progress_is_one check (id = 1)
);

insert into telemetry_rollup_progress default values;
-- Exports that are written in the background, and what became of them. What was asked for may hold what people typed.
create table export_jobs (
    id uuid primary key,
    created_at timestamptz not null default now(),
    state text not null default 'waiting',
    request jsonb not null,
    max_bytes bigint not null,
    rows bigint not null default 0,
    total bigint,
    bytes bigint not null default 0,
    manifest jsonb,
    error_code text,
    error_detail text,
    finished_at timestamptz,
    -- How often somebody began to work at it since it last came further.
    claims integer not null default 0,
    -- Who works at it, and until when unless he says that he still does.
    lease uuid,
    lease_until timestamptz,
    -- Of the idempotency key, and of what came under it.
    key_hash bytea,
    body_hash bytea,
    constraint export_jobs_state_known check (state in ('waiting', 'running', 'done', 'failed', 'removed')),
    constraint export_jobs_done_with_manifest check ((state = 'done') <= (manifest is not null)),
    constraint export_jobs_failed_with_reason check ((state = 'failed') = (error_code is not null)),
    constraint export_jobs_final_has_end check ((state in ('done', 'failed')) <= (finished_at is not null)),
    constraint export_jobs_leased_while_running check (lease is null or state in ('running', 'removed'))
);

create unique index export_jobs_key on export_jobs (key_hash);

-- `words` is the rule as people write it. `origin`: Weir's own, declared in `weir.toml`, or made by a user. `is_enabled` is
-- what somebody switched it to; none as long as nobody did, and `words` decide.
create table telemetry_alert_rules (
    name text primary key,
    origin text not null,
    words jsonb not null,
    is_enabled boolean,
    changed_at timestamptz not null,
    constraint telemetry_alert_rules_origin_known check (origin in ('weir', 'file', 'user'))
);

-- How a rule stands, and what is remembered of it from one window to the next. `evaluated_until` is the end of the last
-- window that was looked at; `skipped_windows` were not, for there were too many at once. `notified_at` is when people
-- were last told that an alert of it had begun.
create table telemetry_alert_states (
    rule text primary key references telemetry_alert_rules (name) on delete cascade,
    state text not null,
    since timestamptz,
    is_open boolean not null,
    violations integer not null,
    held interval not null,
    violated_at timestamptz,
    value float8,
    evaluated_until timestamptz,
    skipped_windows bigint not null default 0,
    notified_at timestamptz,
    constraint telemetry_alert_states_state_known check (
        state in ('ok', 'pending', 'firing', 'resolved', 'no_data', 'stale', 'error')
    ),
    constraint telemetry_alert_states_firing_is_open check (state <> 'firing' or is_open)
);

-- Every time a rule fired. `message` is made of numbers and registered names; `acknowledged_by` is a pseudonym. `withheld`
-- is what was last kept back of it, and why (`fire:silenced`).
create table telemetry_alerts (
    id uuid primary key,
    rule text not null,
    metric text not null,
    statistic text not null,
    unit text not null,
    severity text not null,
    operator text not null,
    threshold float8 not null,
    value float8,
    window_ended_at timestamptz not null,
    fired_at timestamptz not null,
    message text not null,
    state text not null,
    channels text[] not null,
    notified_at timestamptz,
    withheld text,
    acknowledged_at timestamptz,
    acknowledged_by bytea,
    resolved_at timestamptz,
    constraint telemetry_alerts_state_known check (state in ('firing', 'resolved')),
    constraint telemetry_alerts_severity_known check (severity in ('info', 'warning', 'critical')),
    constraint telemetry_alerts_resolved_has_time check ((state = 'resolved') = (resolved_at is not null)),
    constraint telemetry_alerts_acknowledged_has_time check (acknowledged_by is null or acknowledged_at is not null)
);

create unique index telemetry_alerts_open on telemetry_alerts (rule) where state = 'firing';

-- Somebody wants no notifications for a while: of a rule, of a severity, or of all. It always ends.
create table telemetry_alert_silences (
    id uuid primary key,
    rule text,
    severity text,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    created_at timestamptz not null,
    created_by bytea,
    constraint telemetry_alert_silences_ends check (ends_at >= starts_at)
);

create index telemetry_alert_silences_ending on telemetry_alert_silences (ends_at);

-- What each channel was to tell, and what became of it. `withheld`: kept back, and `reason` says why; `capped`: one too many
-- in an hour, told in the summary `summary_id`. `due_at` is when it is tried next, or tried again if whoever tries is killed.
create table telemetry_alert_deliveries (
    id uuid primary key,
    channel text not null,
    kind text not null,
    alert_ids uuid[] not null,
    rules text[] not null,
    status text not null,
    reason text,
    attempts integer not null default 0,
    created_at timestamptz not null,
    due_at timestamptz,
    finished_at timestamptz,
    latency_us bigint,
    summary_id uuid references telemetry_alert_deliveries (id) on delete set null,
    constraint telemetry_alert_deliveries_kind_known check (
        kind in ('fire', 'resolve', 'renotify', 'summary', 'test')
    ),
    constraint telemetry_alert_deliveries_status_known check (
        status in ('due', 'delivered', 'failed', 'withheld', 'capped')
    ),
    constraint telemetry_alert_deliveries_due_has_time check ((status = 'due') = (due_at is not null)),
    constraint telemetry_alert_deliveries_reason_given check (status not in ('failed', 'withheld') or reason is not null)
);

create index telemetry_alert_deliveries_due on telemetry_alert_deliveries (channel, id) where status = 'due';
create index telemetry_alert_deliveries_newest on telemetry_alert_deliveries (channel, created_at);
create index telemetry_alert_deliveries_summed on telemetry_alert_deliveries (summary_id) where summary_id is not null;

-- Every time a delivery was tried. `begun` and no more: whoever tried was killed, and nobody knows whether it arrived.
create table telemetry_alert_attempts (
    delivery_id uuid not null references telemetry_alert_deliveries (id) on delete cascade,
    attempt integer not null,
    began_at timestamptz not null,
    outcome text not null,
    reason text,
    latency_us bigint,
    constraint telemetry_alert_attempts_pkey primary key (delivery_id, attempt),
    constraint telemetry_alert_attempts_outcome_known check (outcome in ('begun', 'delivered', 'failed'))
);
