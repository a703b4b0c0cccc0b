-- Flow control: keys of concurrency, what is parked because it cannot run yet, pauses and limits, why an execution waits.

-- Pauses and limits that somebody set, of lanes and of commands. No row: none.
create table flow_controls (
    kind text not null,
    name text not null,
    paused_at timestamptz,
    paused_by text,
    paused_until timestamptz,
    max_running integer,
    max_queued integer,
    max_age_us bigint,
    updated_at timestamptz not null default now(),
    constraint flow_controls_pkey primary key (kind, name),
    constraint flow_controls_kind_known check (kind in ('lane', 'command')),
    constraint flow_controls_pause_is_whole check (
        (paused_at is null) = (paused_by is null) and (paused_until is null or paused_at is not null)
    ),
    constraint flow_controls_limits_are_of_lanes check (
        kind = 'lane' or (max_running is null and max_queued is null and max_age_us is null)
    ),
    constraint flow_controls_limits_positive check (max_running > 0 and max_queued > 0 and max_age_us > 0)
);

-- concurrency_key, _max: its key, and how many with it and its slug may run. slot_held: it is one of those that do, and
-- stays one while it waits for another. parked: why claims do not look at a queued one, until that changes.
alter table command_executions
    add column concurrency_key text,
    add column concurrency_max integer,
    add column slot_held boolean not null default false,
    add column parked text,
    add constraint command_executions_parked_known check (parked in ('concurrency', 'command')),
    add constraint command_executions_parked_does_not_run check (
        parked is null or state not in ('scheduled', 'running', 'waiting')
    ),
    add constraint command_executions_key_has_max check ((concurrency_key is null) = (concurrency_max is null)),
    add constraint command_executions_slot_has_key check (not slot_held or concurrency_key is not null),
    add constraint command_executions_final_holds_no_slot check (not slot_held or finished_at is null);

-- The claim: the best due execution of a lane. A level of priority is worth a quarter of an hour of waiting.
drop index command_executions_due;
create index command_executions_due on command_executions (
    lane, ((run_at at time zone 'UTC') + priority * interval '15 minutes'), id
) where state = 'queued' and parked is null;

-- Who holds the places of a key, how many there are of a key, who waits for a place, best first. Of keyed ones only.
create index command_executions_holders on command_executions (slug, concurrency_key) where slot_held;
create index command_executions_keyed on command_executions (slug, concurrency_key)
    where concurrency_key is not null and finished_at is null;
create index command_executions_parked_by_key on command_executions (
    slug, concurrency_key, ((run_at at time zone 'UTC') + priority * interval '15 minutes'), id
) where state = 'queued' and parked = 'concurrency';
-- Who waits for a paused command, and all that is parked, by lane.
create index command_executions_parked_by_command on command_executions (slug, id)
    where state = 'queued' and parked = 'command';
create index command_executions_parked_by_lane on command_executions (lane) where state = 'queued' and parked is not null;

-- Why an execution does not run at this moment: null when it runs or has ended. At most 20 ids of others are named.
create function why_execution_waits(e command_executions) returns jsonb language sql stable as $$
    select case e.state
        when 'scheduled' then jsonb_build_object('reason', case when e.attempt > 0 then 'retry' else 'run_at' end)
        when 'waiting' then jsonb_build_object(
            'reason', 'children',
            'executions', (
                select jsonb_agg(c.id) from (
                    select id from command_executions
                    where parent_id = e.id and link = 'child' and finished_at is null
                    order by id
                    limit 20
                ) as c
            )
        )
        when 'running' then (
            -- It was claimed to run alone, and what ran in that process before is not done yet.
            select jsonb_build_object('reason', 'alone', 'executions', jsonb_agg(o.id))
            from (
                select id from command_executions
                where e.alone and state = 'running' and worker_id = e.worker_id and id <> e.id
                order by id
                limit 20
            ) as o
            having count(*) > 0
        )
        when 'queued' then coalesce(
            (
                select jsonb_strip_nulls(jsonb_build_object(
                    'reason', f.kind || '_paused',
                    'by', f.paused_by,
                    'until', to_char(f.paused_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
                ))
                from flow_controls as f
                where (f.kind, f.name) in (('lane', e.lane), ('command', e.slug))
                    and f.paused_at is not null and (f.paused_until is null or f.paused_until > now())
                order by f.kind desc
                limit 1
            ),
            (
                select jsonb_build_object(
                    'reason', 'concurrency',
                    'key', e.concurrency_key,
                    'max', e.concurrency_max,
                    'executions', (select jsonb_agg(id) from (select unnest(h.ids) as id limit 20) as named)
                )
                from (
                    select array_agg(id order by id) as ids, count(*) as number
                    from command_executions
                    where slug = e.slug and concurrency_key = e.concurrency_key and slot_held
                ) as h
                where not e.slot_held and h.number >= e.concurrency_max
            ),
            (
                select jsonb_build_object('reason', 'lane_limit', 'max', f.max_running)
                from flow_controls as f
                where f.kind = 'lane' and f.name = e.lane and f.max_running <= (
                    select count(*) from command_executions where state = 'running' and lane = e.lane
                )
            ),
            jsonb_build_object(
                'reason', 'worker',
                'workers', (select count(*) from workers where lane = e.lane and lease_until > now())
            )
        )
    end
$$;
