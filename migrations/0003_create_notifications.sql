-- The inbox: what `notify` steps tell a person.
create table notifications (
    id uuid primary key,
    space_id uuid not null references spaces (id),
    execution_id uuid references command_executions (id) on delete set null,
    user_name text not null,
    level text not null,
    message text not null,
    created_at timestamptz not null,
    read_at timestamptz,
    constraint notifications_level_known check (level in ('info', 'warning', 'error'))
);

create index notifications_newest on notifications (space_id, id desc);
