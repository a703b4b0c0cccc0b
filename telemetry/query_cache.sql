-- Whether what is stored has changed since an answer was made.

-- name: compare_views
-- The view of this transaction; which partitions there are; whether a batch is visible here that was not in another
-- view. view: text of a pg_snapshot, or null. Index telemetry_batches_in_order.
select
    pg_current_snapshot()::text,
    (
        select count(*) || ':' || coalesce(max(inhrelid::oid::bigint), 0)
        from pg_inherits where inhparent = 'telemetry_events'::regclass
    ),
    exists (
        select from telemetry_batches
        where written_by >= pg_snapshot_xmin(%(view)s::text::pg_snapshot)
            and not pg_visible_in_snapshot(written_by, %(view)s::text::pg_snapshot)
    );
