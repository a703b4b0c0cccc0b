-- Statements of workers/retry_budget.py.

-- name: lock
-- Let one retry of a command be judged after the other until the transaction ends, also where a minute ends in between
-- and each holds another row. params: slug.
select pg_advisory_xact_lock(hashtextextended('weir.retries:' || %(slug)s::text, 0));

-- name: deposit
-- Count executions that were begun: some number so many minutes ago. The minute at hand gets a row in any case.
-- params: slug; ages: whole minutes, each once; counts: as many. index: primary key.
insert into retry_counts as r (slug, minute, begun)
select %(slug)s, date_trunc('minute', now()) - b.age * interval '1 minute', b.begun
from unnest(%(ages)s::int[], %(counts)s::bigint[]) as b (age, begun)
on conflict (slug, minute) do update set begun = r.begun + excluded.begun;

-- name: take
-- Grant one retry, if there are fewer than the budget allows. No row: it is spent.
-- params: slug; minutes: of the window; floor; share: per cent. index: primary key.
update retry_counts
set retries = retries + 1
where slug = %(slug)s and minute = date_trunc('minute', now())
    and (
        select sum(w.retries) + 1 <= %(floor)s + sum(w.begun) * %(share)s / 100
        from retry_counts as w
        where w.slug = %(slug)s and w.minute > date_trunc('minute', now()) - %(minutes)s * interval '1 minute'
    )
returning retries;

-- name: forget
-- Counts that no window reaches. params: minutes. index: retry_counts_by_age.
delete from retry_counts where minute < now() - 2 * %(minutes)s * interval '1 minute';
