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
