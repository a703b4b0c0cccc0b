-- Statements of workers/error_frames.py.

-- name: unknown
-- Errors of events whose frames nobody noted, with those of one row of each. Fingerprints are read one after the other
-- from the index; of each, a few events are looked at. params: since_id: beginning of a day, or whole partitions are read
-- in vain; events: of each; errors: at most; known: noted ones there may be.
-- index: telemetry_events_errors, command_steps_events, command_executions_final_events.
with recursive seen as (
    (
        select error_fingerprint as fingerprint
        from telemetry_events
        where event_id >= %(since_id)s and error_fingerprint is not null
        order by error_fingerprint
        limit 1
    )
    union all
    select (
        select e.error_fingerprint
        from telemetry_events as e
        where e.event_id >= %(since_id)s and e.error_fingerprint > seen.fingerprint
        order by e.error_fingerprint
        limit 1
    )
    from seen
    where seen.fingerprint is not null
)
select seen.fingerprint, found.error_type, found.frames
from seen
cross join lateral (
    select e.error_type, coalesce(s.error, x.error) -> 'frames' as frames
    from (
        select event_id, error_type
        from telemetry_events
        where event_id >= %(since_id)s and error_fingerprint = seen.fingerprint
        limit %(events)s
    ) as e
    left join command_steps as s on s.event_id = e.event_id
    left join command_executions as x on x.finished_event_id = e.event_id
    where jsonb_typeof(coalesce(s.error, x.error) -> 'frames') = 'array' and e.error_type is not null
    limit 1
) as found
where not exists (select from telemetry_error_frames as f where f.fingerprint = seen.fingerprint)
    and (select count(*) from telemetry_error_frames) < %(known)s
limit %(errors)s;

-- name: note
-- Note the frames of an error, if nobody did meanwhile. params: id; fingerprint; error_type; frames: text[].
insert into telemetry_error_frames (id, fingerprint, error_type, frames)
values (%(id)s, %(fingerprint)s, %(error_type)s, %(frames)s)
on conflict (fingerprint) do nothing;
