-- name: insert_mutations
-- What an import changed: one row a fragment. params: ids, entity_ids, operations, event_ids, event_rows: arrays of one
-- length; correlation_id, request_source, user_name, space_id: who; occurred_at.
insert into mutations (
    id, correlation_id, request_source, user_name, space_id, entity, entity_id, operation, occurred_at, event_id,
    event_rows
)
select change.id, %(correlation_id)s, %(request_source)s, %(user_name)s, %(space_id)s, 'fragment', change.entity_id,
    change.operation, %(occurred_at)s, change.event_id, change.event_rows
from unnest(%(ids)s::uuid[], %(entity_ids)s::uuid[], %(operations)s::text[], %(event_ids)s::uuid[], %(event_rows)s::int[])
    as change (id, entity_id, operation, event_id, event_rows);
