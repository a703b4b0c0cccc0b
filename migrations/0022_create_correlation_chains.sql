-- What became of each trace, built from stored events, and how far that has come.

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

-- What is read below the oldest running transaction is read in this order, from where the last round ended.
create index telemetry_batches_in_order on telemetry_batches (written_by, id);
drop index telemetry_batches_written_by;
