-- What was looked at every five minutes, and how fast everything was meanwhile.

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
