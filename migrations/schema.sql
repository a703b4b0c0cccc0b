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
