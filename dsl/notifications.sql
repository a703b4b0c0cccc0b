-- Statements of dsl/notifications.py.

-- name: insert_notification
-- One notification. level: info, warning or error; execution_id: none outside an execution.
insert into notifications (id, space_id, execution_id, user_name, level, message, created_at)
values (%(id)s, %(space_id)s, %(execution_id)s, %(user_name)s, %(level)s, %(message)s, %(created_at)s);

-- name: newest_notifications
-- A page of the inbox, newest first. before: id the page before ended with, or null; first: least id of the time that is
-- asked for, whose ids carry it; space_id, user_name, level, since, until: or null; limit: rows.
-- Primary key; of a space, index (space_id, id desc).
select n.id, n.space_id, s.name as space, n.execution_id, n.user_name, n.level, n.message, n.created_at
from notifications n
join spaces s on s.id = n.space_id
where n.id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    and n.id >= coalesce(%(first)s::uuid, '00000000-0000-0000-0000-000000000000')
    and (%(space_id)s::uuid is null or n.space_id = %(space_id)s)
    and (%(user_name)s::text is null or n.user_name = %(user_name)s)
    and (%(level)s::text is null or n.level = %(level)s)
    and (%(since)s::timestamptz is null or n.created_at >= %(since)s)
    and (%(until)s::timestamptz is null or n.created_at < %(until)s)
order by n.id desc
limit %(limit)s;
