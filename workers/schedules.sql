-- Statements of workers/schedules.py.

-- name: insert
-- A new schedule. params: the columns. index: schedules_by_name makes its name its own.
insert into schedules (
    id, name, slug, declared_id, cron, every_us, anchor, at, timezone, jitter_us, misfire, window_us, overlap,
    pause_after, inputs, user_name, space_id, priority, next_due_at, wake_at, failures_since, created_at, updated_at
) values (
    %(id)s, %(name)s, %(slug)s, %(declared_id)s, %(cron)s, %(every_us)s, %(anchor)s, %(at)s, %(timezone)s,
    %(jitter_us)s, %(misfire)s, %(window_us)s, %(overlap)s, %(pause_after)s, %(inputs)s, %(user_name)s, %(space_id)s,
    %(priority)s, %(next_due_at)s, %(wake_at)s, %(now)s, %(now)s, %(now)s
);

-- name: change
-- Other words for a schedule, which is there again if it was removed. params: the columns; id. Primary key.
update schedules
set name = %(name)s, slug = %(slug)s, cron = %(cron)s, every_us = %(every_us)s, anchor = %(anchor)s, at = %(at)s,
    timezone = %(timezone)s, jitter_us = %(jitter_us)s, misfire = %(misfire)s, window_us = %(window_us)s,
    overlap = %(overlap)s, pause_after = %(pause_after)s, inputs = %(inputs)s, user_name = %(user_name)s,
    space_id = %(space_id)s, priority = %(priority)s, next_due_at = %(next_due_at)s, wake_at = %(wake_at)s,
    updated_at = %(now)s, removed_at = null
where id = %(id)s;

-- name: get
-- One schedule. params: id. Primary key.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id where s.id = %(id)s;

-- name: named
-- The schedule that has a name now. params: name. index: schedules_by_name.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id
where s.name = %(name)s and s.removed_at is null;

-- name: names
-- Names of the schedules that are there, for suggestions. params: limit. index: schedules_by_name.
select name from schedules where removed_at is null order by name limit %(limit)s;

-- name: page
-- Schedules that are there, newest first. params: before: id of the last row seen, or null; slug: or null; limit.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id
where s.removed_at is null
    and (%(before)s::uuid is null or s.id < %(before)s::uuid)
    and (%(slug)s::text is null or s.slug = %(slug)s::text)
order by s.id desc
limit %(limit)s;

-- name: declared
-- Every schedule that a command file declared once, also those that are removed. No index: they are few.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id where s.declared_id is not null;

-- name: lock
-- One schedule, for whoever changes it or deals with its due times: they take turns. params: id. Primary key.
select s.*, p.name as space from schedules as s join spaces as p on p.id = s.space_id
where s.id = %(id)s
for no key update of s;

-- name: resume
-- Go on. Failures before do not count. params: id; now. Primary key.
update schedules
set paused_at = null, pause_reason = null, failures_since = %(now)s, updated_at = %(now)s
where id = %(id)s;

-- name: remove
-- Take it away; its history stays. params: id; now. Primary key.
update schedules
set removed_at = %(now)s, updated_at = %(now)s, next_due_at = null, wake_at = null
where id = %(id)s;

-- name: occurrences
-- What became of due times, newest first. params: schedule_id; state: or null; before_due_at, before_origin: of the last
-- row seen, or null; limit. Primary key.
select due_at, origin, state, reason, last_due_at, due_times, fire_at, occurred_at, lateness_us, execution_id, slug,
    correlation_id
from schedule_occurrences
where schedule_id = %(schedule_id)s
    and (%(state)s::text is null or state = %(state)s::text)
    and (
        %(before_due_at)s::timestamptz is null
        or (due_at, origin) < (%(before_due_at)s::timestamptz, %(before_origin)s::text)
    )
order by due_at desc, origin desc
limit %(limit)s;

-- name: last_manual
-- When the last run now was due. params: schedule_id. index: schedule_occurrences_manual.
select max(due_at) from schedule_occurrences where schedule_id = %(schedule_id)s and origin = 'manual';

-- name: run_before
-- Which of some due times are run already, or were asked for again before. params: schedule_id; due_times: timestamptz[].
-- Primary key.
select due_at from schedule_occurrences
where schedule_id = %(schedule_id)s and due_at = any(%(due_times)s)
    and (origin = 'backfill' or state in ('waiting', 'fired', 'late', 'caught_up'));

-- name: occurrence
-- One row. params: schedule_id, due_at, origin. Primary key.
select due_at, origin, state, reason, last_due_at, due_times, fire_at, occurred_at, lateness_us, execution_id, slug,
    correlation_id
from schedule_occurrences
where schedule_id = %(schedule_id)s and due_at = %(due_at)s and origin = %(origin)s;
