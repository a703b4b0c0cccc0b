-- Storing events. Rows arrive by binary COPY (telemetry.store, telemetry.rows); these are for rows that may be there.

-- name: prepare_session
-- What is acknowledged to the stream must be on disk: a server that is set to commit asynchronously does not here.
-- params: timeout: of one statement, in milliseconds, as text.
select
    set_config('statement_timeout', %(timeout)s, false),
    set_config(
        'synchronous_commit',
        case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end,
        false
    );

-- name: create_staging
-- A table of the session's own where rows wait that may be stored already. Empty at the start of each transaction.
create temporary table if not exists telemetry_staging (like telemetry_events) on commit delete rows;

-- name: insert_staged
-- Staged rows that are not stored yet. Primary key of telemetry_events.
insert into telemetry_events select * from telemetry_staging on conflict (event_id) do nothing;

-- name: clear_staging
-- Forget what is staged.
delete from telemetry_staging;

-- name: append_batch
-- What one transaction stored. Whoever must miss nothing reads these below pg_snapshot_xmin, in the order of written_by.
-- params: events, duplicates: integer; minutes: text of int4multirange, minutes since 1970.
insert into telemetry_batches (events, duplicates, minutes)
values (%(events)s, %(duplicates)s, %(minutes)s::text::int4multirange);
