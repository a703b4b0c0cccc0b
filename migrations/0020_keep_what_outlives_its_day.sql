-- What is kept of a day of events that is dropped, which traces are never dropped, and what is no longer to be expected.

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
create index telemetry_events_kept_passing on telemetry_events_kept (event_id)
    where level <> 'error' and error_fingerprint is null;

create table telemetry_pins (
    correlation_id uuid primary key,
    pinned_at timestamptz not null default now()
);

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
