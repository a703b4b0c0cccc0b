-- Statements of dsl/notifications.py.

-- name: insert_notification
-- One notification. level: info, warning or error; execution_id: none outside an execution.
insert into notifications (id, space_id, execution_id, user_name, level, message, created_at)
values (%(id)s, %(space_id)s, %(execution_id)s, %(user_name)s, %(level)s, %(message)s, %(created_at)s);

-- name: newest_notifications
-- A page of a space's inbox, newest first. before: id the page before ended with, or null; limit: rows.
-- Index (space_id, id desc).
select id, space_id, execution_id, user_name, level, message, created_at, read_at
from notifications
where space_id = %(space_id)s and id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by id desc
limit %(limit)s;
