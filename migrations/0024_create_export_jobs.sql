-- Exports that are written in the background, and what became of them.

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
    claims integer not null default 0,
    lease uuid,
    lease_until timestamptz,
    key_hash bytea,
    body_hash bytea,
    constraint export_jobs_state_known check (state in ('waiting', 'running', 'done', 'failed', 'removed')),
    constraint export_jobs_done_with_manifest check ((state = 'done') <= (manifest is not null)),
    constraint export_jobs_failed_with_reason check ((state = 'failed') = (error_code is not null)),
    constraint export_jobs_final_has_end check ((state in ('done', 'failed')) <= (finished_at is not null)),
    constraint export_jobs_leased_while_running check (lease is null or state in ('running', 'removed'))
);

create unique index export_jobs_key on export_jobs (key_hash);
