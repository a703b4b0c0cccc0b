-- Statements of workers/exports.py.

-- name: lock_creating
-- One after the other, so that together they keep the bounds; until the end of the transaction. key: bigint.
select pg_advisory_xact_lock(%(key)s);

-- name: kept
-- How many there are, and the bytes that they have or may still get. Reads all of a small table.
select count(*), coalesce(sum(case when state in ('done', 'failed') then bytes else max_bytes end), 0)::bigint
from export_jobs
where state <> 'removed';

-- name: create
-- A new one. params: id; request: JSON; max_bytes; key_hash; body_hash: or null.
insert into export_jobs (id, request, max_bytes, key_hash, body_hash)
values (%(id)s, %(request)s::jsonb, %(max_bytes)s, %(key_hash)s, %(body_hash)s);

-- name: of_key
-- The one of an idempotency key, and what came under it. params: key_hash. index: export_jobs_key.
select id, body_hash from export_jobs where key_hash = %(key_hash)s and state <> 'removed';

-- name: get
-- One that was not removed. params: id. index: primary key.
select id, created_at, state, request, max_bytes, rows, total, bytes, manifest, error_code, error_detail, finished_at
from export_jobs
where id = %(id)s and state <> 'removed';

-- name: page
-- The newest, or those older than one. params: before: id, or null; rows. index: primary key.
select id, created_at, state, request, max_bytes, rows, total, bytes, manifest, error_code, error_detail, finished_at
from export_jobs
where state <> 'removed' and (%(before)s::uuid is null or id < %(before)s)
order by id desc
limit %(rows)s;

-- name: remove
-- Leave it to the worker to delete. Its key is free again. params: id. index: primary key.
update export_jobs set state = 'removed', error_code = null, key_hash = null
where id = %(id)s and state <> 'removed'
returning id;

-- name: is_wanted
-- Whether there is something to write or to delete. params: keep_s: seconds.
select exists (
    select from export_jobs
    where (state in ('waiting', 'running') and (lease is null or lease_until < now()))
        or (state = 'removed' and (lease is null or lease_until < now()))
        or finished_at < now() - %(keep_s)s * interval '1 second'
);

-- name: claim
-- The oldest that nobody works at, for a lease. params: lease: uuid; lease_s: seconds.
update export_jobs
set state = 'running', lease = %(lease)s, lease_until = now() + %(lease_s)s * interval '1 second', claims = claims + 1
where id = (
    select id from export_jobs
    where state in ('waiting', 'running') and (lease is null or lease_until < now())
    order by id
    limit 1
    for update skip locked
)
returning id, request, max_bytes, claims;

-- name: beat
-- How far it is; no row: somebody else has it, or it was removed. params: id; lease; lease_s; rows; total; bytes.
update export_jobs
set lease_until = now() + %(lease_s)s * interval '1 second', claims = 0, rows = %(rows)s, total = %(total)s,
    bytes = %(bytes)s
where id = %(id)s and lease = %(lease)s and state = 'running'
returning id;

-- name: let_go
-- Work at it ended for now. params: id; lease.
update export_jobs set lease = null, lease_until = null where id = %(id)s and lease = %(lease)s;

-- name: finish
-- It is whole. params: id; lease; manifest: JSON; rows; bytes.
update export_jobs
set state = 'done', manifest = %(manifest)s::jsonb, rows = %(rows)s, total = %(rows)s, bytes = %(bytes)s,
    finished_at = now(), lease = null, lease_until = null
where id = %(id)s and lease = %(lease)s and state = 'running'
returning id;

-- name: fail
-- It cannot be written; its files are gone. params: id; lease; code; detail.
update export_jobs
set state = 'failed', error_code = %(code)s, error_detail = %(detail)s, bytes = 0, finished_at = now(), lease = null,
    lease_until = null
where id = %(id)s and lease = %(lease)s and state = 'running'
returning id;

-- name: going
-- Those whose files are to be deleted: removed ones that nobody works at, and those whose time is over. keep_s: seconds.
select id from export_jobs
where (state = 'removed' and (lease is null or lease_until < now()))
    or finished_at < now() - %(keep_s)s * interval '1 second';

-- name: forget
-- One whose files are gone. params: id. index: primary key.
delete from export_jobs where id = %(id)s;

-- name: known
-- Which of these are there. params: ids. index: primary key.
select id from export_jobs where id = any(%(ids)s);
