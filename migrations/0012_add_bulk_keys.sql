-- What a caller submitted in bulk under a key for all of it: the answer, to be given again.
create table bulk_keys (
    key_hash bytea not null,
    body_hash bytea not null,
    answer jsonb not null,
    created_at timestamptz not null default now(),
    constraint bulk_keys_pkey primary key (key_hash)
);

create index bulk_keys_by_age on bulk_keys (created_at);
