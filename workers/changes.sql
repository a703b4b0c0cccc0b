-- name: insert_mutations
-- What was changed from outside any execution: one row a change. params: ids, entities, entity_ids, operations,
-- changed_fields (names, joined by commas), befores, afters (hashes), event_ids, event_rows: arrays of one length;
-- correlation_id, request_source, user_name, space_id: who; occurred_at.
insert into mutations (
    id, correlation_id, request_source, user_name, space_id, entity, entity_id, operation, changed_fields, before_hash,
    after_hash, occurred_at, event_id, event_rows
)
select change.id, %(correlation_id)s, %(request_source)s, %(user_name)s, %(space_id)s, change.entity, change.entity_id,
    change.operation, string_to_array(change.changed_fields, ','), change.before, change.after, %(occurred_at)s,
    change.event_id, change.event_rows
from unnest(
    %(ids)s::uuid[], %(entities)s::text[], %(entity_ids)s::uuid[], %(operations)s::text[], %(changed_fields)s::text[],
    %(befores)s::bytea[], %(afters)s::bytea[], %(event_ids)s::uuid[], %(event_rows)s::int[]
) as change (id, entity, entity_id, operation, changed_fields, before, after, event_id, event_rows);
