-- What every producer of events says it has given, and what of it has arrived; what could not be stored.

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

create table telemetry_batches (
    id bigint generated always as identity primary key,
    written_by xid8 not null default pg_current_xact_id(),
    stored_at timestamptz not null default now(),
    events integer not null,
    duplicates integer not null default 0,
    minutes int4multirange not null default '{}',
    reconciled boolean not null default false
);

create index telemetry_batches_written_by on telemetry_batches (written_by);

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

create table telemetry_reconciled (
    event_id uuid primary key,
    epoch uuid,
    reconciled_at timestamptz not null default now()
);
