-- Durable execution: leases of workers, and how an attempt that was not the last one ended.

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

-- deaths: workers that were lost with it; deaths_alone: those where nothing else ran; failures: attempts that failed.
-- alone: it runs only where nothing else does. failing: the error that ended its steps, while `on_failure` runs.
alter table command_executions
    add column deaths smallint not null default 0,
    add column deaths_alone smallint not null default 0,
    add column failures smallint not null default 0,
    add column alone boolean not null default false,
    add column failing jsonb;

-- Whose worker is gone: few rows, looked at by every sweep.
create index command_executions_running on command_executions (worker_id) where state = 'running';
-- What becomes due later.
create index command_executions_later on command_executions (run_at) where state = 'scheduled';

-- Why an attempt ended without ending its execution, and when the next was to begin: a retry's row.
alter table command_attempts
    add column released_at timestamptz,
    add column reason text,
    add column delay_us bigint,
    add column step_path text,
    add column error_type text,
    add column error_category text,
    add column error_fingerprint bytea,
    add column retried_event_id uuid,
    add constraint command_attempts_reason_known check (
        reason in ('failed', 'step_failed', 'worker_lost', 'worker_stopped', 'store_lost', 'waiting')
    ),
    add constraint command_attempts_released_has_reason check (
        (released_at is null) = (reason is null) and (released_at is null) = (delay_us is null)
    );

-- Who asked that a running execution be stopped; apart from its row, whose lock its own effects hold.
create table command_stops (
    execution_id uuid primary key references command_executions (id) on delete cascade,
    reason text not null,
    requested_at timestamptz not null default now(),
    killed boolean not null default false,
    constraint command_stops_reason_known check (reason in ('cancelled', 'timed_out'))
);

-- stopped: how a run was brought to its end, if it did not end by itself. expires_at: not to be begun later.
alter table command_executions
    add column stopped text,
    add column expires_at timestamptz,
    add constraint command_executions_stopped_known check (
        stopped in ('before_start', 'cooperatively', 'interrupted', 'killed')
    );

create index command_executions_expiring on command_executions (expires_at) where state in ('queued', 'scheduled');

-- A step taken over from the execution that this one resumes: not run here, counted there, without an event of its own.
alter table command_steps add column restored_from uuid references command_executions (id) on delete set null;

-- The step that asked for an execution and waits for it: one execution for each try of a step.
alter table command_executions
    add column parent_path text,
    add column parent_try smallint,
    add constraint command_executions_child_has_step check (
        (link = 'child') = (parent_path is not null) and (parent_path is null) = (parent_try is null)
    );

create unique index command_executions_child_once on command_executions (parent_id, parent_path, parent_try)
where link = 'child';
