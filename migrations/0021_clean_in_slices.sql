-- Deleting an execution looks for what refers to it, and must not read whole tables for that; and when cleaning last
-- came to its end.

create index command_steps_by_restored_from on command_steps (restored_from) where restored_from is not null;
create index notifications_by_execution on notifications (execution_id) where execution_id is not null;

create table telemetry_cleaning (
    id integer primary key default 1,
    finished_at timestamptz not null,
    constraint telemetry_cleaning_is_one check (id = 1)
);
