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

-- An execution that a schedule asked for names it, instead of a parent.
alter table command_executions add column schedule_id uuid references schedules (id);
alter table command_executions drop constraint command_executions_link_has_parent;
alter table command_executions add constraint command_executions_link_has_parent check (
    (link is null or link = 'scheduled_by') = (parent_id is null)
);
alter table command_executions add constraint command_executions_link_has_schedule check (
    (link is not distinct from 'scheduled_by') = (schedule_id is not null)
);
-- Whether an execution of a schedule is not final: what decides on overlap.
create index command_executions_by_schedule on command_executions (schedule_id)
    where schedule_id is not null
        and state not in ('succeeded', 'failed', 'cancelled', 'expired', 'dead');

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
