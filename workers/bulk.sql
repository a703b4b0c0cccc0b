-- Statements of workers/bulk.py.

-- name: define
-- Keep definitions that are new. In the order of their hashes, so that two that come at once wait one way only.
-- params: hashes; slugs; versions; sources: lists of the same length. index: primary key.
insert into command_definitions (hash, slug, version, source)
select hash, slug, version, source
from unnest(%(hashes)s::bytea[], %(slugs)s::text[], %(versions)s::text[], %(sources)s::text[])
    as given (hash, slug, version, source)
order by hash
on conflict (hash) do nothing;

-- name: submit
-- Accept many executions at once: as `submit` of executions.sql, due one microsecond after the other, so that they run in
-- their order; those that came under a key only if it is not kept for another. Keys are taken in the order of the index,
-- so that two that come at once wait one way only. Returns the ids of those that were accepted.
-- params: rows: JSON list of the columns, bytes in base64; hours. index: primary keys.
with given as materialized (
    select * from jsonb_to_recordset(%(rows)s::jsonb) as row (
        id uuid, slug text, definition_hash text, priority smallint, request_source text, dry_run boolean,
        user_name text, space_id uuid, correlation_id uuid, parent_id uuid, link text, parent_path text,
        parent_try smallint, schedule_id uuid, inputs jsonb, lane text, queued_at timestamptz, run_at timestamptz,
        expires_us bigint, queued_event_id uuid, concurrency_key text, concurrency_max integer, key_hash text,
        body_hash text, position integer
    )
), taken as (
    insert into idempotency_keys as k (user_name, slug, key_hash, body_hash, execution_id)
    select user_name, slug, decode(key_hash, 'base64'), decode(body_hash, 'base64'), id
    from given
    where key_hash is not null
    order by user_name, slug, decode(key_hash, 'base64')
    on conflict (user_name, slug, key_hash) do update
    set body_hash = excluded.body_hash, execution_id = excluded.execution_id, created_at = now()
    where k.created_at < now() - %(hours)s * interval '1 hour'
    returning k.execution_id
)
insert into command_executions (
    id, slug, definition_hash, state, priority, request_source, dry_run, user_name, space_id, correlation_id,
    parent_id, link, parent_path, parent_try, schedule_id, inputs, lane, queued_at, run_at, expires_at, queued_event_id,
    concurrency_key, concurrency_max
)
select
    id, slug, decode(definition_hash, 'base64'), case when run_at > now() then 'scheduled' else 'queued' end, priority,
    request_source, dry_run, user_name, space_id, correlation_id, parent_id, link, parent_path, parent_try, schedule_id,
    inputs, lane, queued_at, greatest(now(), run_at) + position * interval '1 microsecond',
    greatest(now(), run_at) + expires_us * interval '1 microsecond', queued_event_id, concurrency_key, concurrency_max
from given
where key_hash is null or id in (select execution_id from taken)
returning id;

-- name: taken
-- Whose keys are. params: users; slugs; keys: lists of the same length. index: primary key.
select k.user_name, k.slug, k.key_hash, k.body_hash, k.execution_id
from unnest(%(users)s::text[], %(slugs)s::text[], %(keys)s::bytea[]) as given (user_name, slug, key_hash)
join idempotency_keys as k using (user_name, slug, key_hash);

-- name: take
-- Keep a key for a whole submission, unless it is kept for another: who comes second waits for the first to commit. One
-- whose time is over is anybody's again. No row: it is taken. params: key; body: hashes; hours. index: primary key.
insert into bulk_keys as k (key_hash, body_hash, answer)
values (%(key)s, %(body)s, 'null')
on conflict (key_hash) do update
set body_hash = excluded.body_hash, answer = excluded.answer, created_at = now()
where k.created_at < now() - %(hours)s * interval '1 hour'
returning k.key_hash;

-- name: keep
-- The answer to a whole submission, in the transaction that took its key. params: key; answer: JSON. index: primary key.
update bulk_keys set answer = %(answer)s where key_hash = %(key)s;

-- name: kept
-- What was answered under a key, while it is kept. params: key; hours. index: primary key.
select body_hash, answer from bulk_keys
where key_hash = %(key)s and created_at >= now() - %(hours)s * interval '1 hour';

-- name: forget
-- Keys whose time is over. params: hours. index: bulk_keys_by_age.
delete from bulk_keys where created_at < now() - %(hours)s * interval '1 hour';
