-- What an execution and a due time cost must not grow with those that are stored.

-- The claim reads its index from the front, where every claimed row has left a dead entry until the next vacuum: 50,000
-- of them make a claim of 0.6 ms one of 4 ms. By default vacuum waits for a fifth of the table, and then leaves indexes
-- alone if few pages of the table have changed; both let the dead pile up just where many executions are stored.
alter table command_executions set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    vacuum_index_cleanup = on
);

-- The last occurrences of a schedule, whatever became of them: how many of them failed.
create index schedule_occurrences_newest on schedule_occurrences (schedule_id, occurred_at desc, due_at desc);
-- Up to which due time everything is told, and when the last run now was.
create index schedule_occurrences_told on schedule_occurrences (schedule_id, last_due_at) where origin <> 'manual';
create index schedule_occurrences_manual on schedule_occurrences (schedule_id, due_at) where origin = 'manual';
