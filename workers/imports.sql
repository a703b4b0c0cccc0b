-- name: insert_mutations
-- What an import changed: one row a fragment. params: ids, entity_ids, operations, event_ids: arrays of one length;
-- correlation_id; occurred_at.
insert into mutations (id, correlation_id, entity, entity_id, operation, occurred_at, event_id)
select change.id, %(correlation_id)s, 'fragment', change.entity_id, change.operation, %(occurred_at)s, change.event_id
from unnest(%(ids)s::uuid[], %(entity_ids)s::uuid[], %(operations)s::text[], %(event_ids)s::uuid[])
    as change (id, entity_id, operation, event_id);
