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
