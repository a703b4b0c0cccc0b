-- Statements of workers/idempotency.py.

-- name: take
-- Keep a key for an execution, unless it is kept for another: whoever commits first has it. One whose time is over is
-- anybody's again. No row: it is taken. params: user; slug; key; body: hashes; execution_id; hours. index: primary key.
insert into idempotency_keys as k (user_name, slug, key_hash, body_hash, execution_id)
values (%(user)s, %(slug)s, %(key)s, %(body)s, %(execution_id)s)
on conflict (user_name, slug, key_hash) do update
set body_hash = excluded.body_hash, execution_id = excluded.execution_id, created_at = now()
where k.created_at < now() - %(hours)s * interval '1 hour'
returning k.execution_id;

-- name: taken
-- Whose a key is. params: user; slug; key; hours. index: primary key.
select execution_id, body_hash from idempotency_keys
where user_name = %(user)s and slug = %(slug)s and key_hash = %(key)s
    and created_at >= now() - %(hours)s * interval '1 hour';

-- name: all_taken
-- Whose keys are. params: users; slugs; keys: lists of the same length; hours. index: primary key.
select k.user_name, k.slug, k.key_hash, k.body_hash, k.execution_id
from unnest(%(users)s::text[], %(slugs)s::text[], %(keys)s::bytea[]) as given (user_name, slug, key_hash)
join idempotency_keys as k using (user_name, slug, key_hash)
where k.created_at >= now() - %(hours)s * interval '1 hour';

-- name: forget
-- Keys whose time is over. params: hours. index: idempotency_keys_by_age.
delete from idempotency_keys where created_at < now() - %(hours)s * interval '1 hour';
