-- Dead letters: executions that ended as `dead` or `failed` and that nobody has dealt with; and what time has to do with
-- executions that wait.

-- handled_at: when somebody ran it again or dropped it from the dead letters.
alter table command_executions add column handled_at timestamptz;

-- What nobody has dealt with. What a step waits for is dealt with through the execution of that step.
create index command_executions_dead_letters on command_executions (state, finished_at desc, id desc)
where state in ('failed', 'dead') and handled_at is null and not dry_run and link is distinct from 'child';
-- The same by cause.
create index command_executions_dead_letters_by_cause on command_executions ((error ->> 'fingerprint'), id desc)
where state in ('failed', 'dead') and handled_at is null and not dry_run and link is distinct from 'child';

-- Who dealt with a dead letter, how and when; `requeued_as` is the execution that follows it.
create table dead_letter_handlings (
    execution_id uuid primary key references command_executions (id) on delete cascade,
    action text not null,
    user_name text,
    handled_at timestamptz not null default now(),
    requeued_as uuid references command_executions (id) on delete set null,
    constraint dead_letter_handlings_action_known check (action in ('requeued', 'dropped')),
    constraint dead_letter_handlings_dropped_has_no_successor check (action = 'requeued' or requeued_as is null)
);

create index dead_letter_handlings_by_successor on dead_letter_handlings (requeued_as) where requeued_as is not null;

-- Only what was never begun expires, and few executions are to expire at all.
drop index command_executions_expiring;
create index command_executions_expiring on command_executions (expires_at)
where expires_at is not null and attempt = 0 and state in ('queued', 'scheduled');

-- Executions that were begun and retries that were granted, by command and minute: what a retry may be judged by. Written
-- only when a retry is asked for.
create table retry_counts (
    slug text not null,
    minute timestamptz not null,
    begun bigint not null default 0,
    retries bigint not null default 0,
    constraint retry_counts_pkey primary key (slug, minute)
);

create index retry_counts_by_age on retry_counts (minute);
