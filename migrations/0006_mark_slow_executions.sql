-- Executions that ran longer than WEIR_WORKER_SLOW_COMMAND_THRESHOLD, with the step that took longest; none when no step
-- ran. Columns with a constant default rewrite nothing; the constraint and the index read the table once.
alter table command_executions
    add column slow boolean not null default false,
    add column slowest_step text,
    add column slowest_step_type text,
    add column slowest_step_us bigint,
    add constraint command_executions_only_slow_has_slowest check (
        slow or (slowest_step is null and slowest_step_type is null and slowest_step_us is null)
    );

-- Slow ones are rare, and somebody looks for them.
create index command_executions_slow on command_executions (id desc) where slow;
