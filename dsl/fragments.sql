-- Statements of dsl/fragments.py. What is selected and by which filter is composed there (`_select`).

-- name: find_space
-- Id of a space. name: its name. Unique constraint on the name.
select id from spaces where name = %(name)s;

-- name: insert_space
-- A new space; no row when another transaction made it first. name: its name. Nothing sorts by this id, so it carries no time.
insert into spaces (id, name) values (gen_random_uuid(), %(name)s)
on conflict (name) do nothing
returning id;

-- name: insert_fragment
-- One fragment. state, metadata: JSON text of an object; source: none unless imported; created_at is also updated_at.
insert into fragments (id, space_id, type, title, content, state, metadata, tags, source, created_at, updated_at)
values (
    %(id)s, %(space_id)s, %(type)s, %(title)s, %(content)s, %(state)s::jsonb, %(metadata)s::jsonb, %(tags)s,
    %(source)s, %(created_at)s, %(created_at)s
);

-- name: update_fragment
-- The columns that changed of a row that is locked; null keeps a column, and its stored bytes. Primary key.
update fragments set
    type = coalesce(%(type)s, type),
    title = coalesce(%(title)s, title),
    content = coalesce(%(content)s, content),
    state = coalesce(%(state)s::jsonb, state),
    metadata = coalesce(%(metadata)s::jsonb, metadata),
    tags = coalesce(%(tags)s::text[], tags),
    updated_at = %(updated_at)s
where id = %(id)s;

-- name: delete_fragments
-- Remove fragments, and return them as they were. ids: uuid[]. Primary key.
delete from fragments f using spaces s
where f.id = any(%(ids)s) and s.id = f.space_id
returning f.id, f.type, f.title, f.content, f.state, f.tags, f.metadata, s.name as space, f.source, f.created_at,
    f.updated_at;

-- name: lock_exported_notes
-- One import of exported notes at a time, in whatever space: their ids may be those of fragments, which are in one space
-- each. Any number stands for it.
select pg_advisory_xact_lock(7420002);

-- name: adopt_notes
-- Fragments without a source get that of the note that was exported from them, unless another has it. notes: JSON list of
-- {id, source}; space_id: of both. Primary key.
update fragments set source = note.source
from json_to_recordset(%(notes)s::json) as note (id uuid, source text)
where fragments.id = note.id and fragments.space_id = %(space_id)s and fragments.source is null
    and not exists (
        select from fragments other where other.space_id = %(space_id)s and other.source = note.source
    );

-- name: taken_ids
-- Which of these are the ids of fragments. ids: uuid[]. Primary key.
select id from fragments where id = any(%(ids)s);

-- name: import_notes
-- Many notes at once. notes: JSON list of {id, type, title, content, state, metadata, tags, source, created_at,
-- updated_at} with distinct sources; space_id: where they go; now: when. The unique index on (space_id, source) finds what
-- an earlier import stored: the file's type, title, content and metadata keys win, its tags are added, the state is left
-- alone. One row for each note that was created or updated, none for one that was stored already.
with incoming as (
    select * from json_to_recordset(%(notes)s::json) as note (
        id uuid, type text, title text, content text, state jsonb, metadata jsonb, tags text[], source text,
        created_at timestamptz, updated_at timestamptz
    )
), stored as (
    insert into fragments as fragment (
        id, space_id, type, title, content, state, metadata, tags, source, created_at, updated_at
    )
    select id, %(space_id)s::uuid, type, title, content, state, metadata, tags, source, created_at, updated_at
    from incoming
    order by source collate "C" -- so that of two imports at once one waits for the other, and not each for each
    on conflict (space_id, source) where source is not null do update set
        type = excluded.type,
        title = excluded.title,
        content = excluded.content,
        metadata = fragment.metadata || excluded.metadata,
        tags = fragment.tags || array(
            select tag from unnest(excluded.tags) with ordinality as new (tag, position)
            where tag <> all (fragment.tags) order by position
        ),
        updated_at = greatest(fragment.updated_at, %(now)s::timestamptz)
    where (fragment.type, fragment.title, fragment.content) is distinct from (excluded.type, excluded.title, excluded.content)
        or fragment.metadata || excluded.metadata <> fragment.metadata
        or not fragment.tags @> excluded.tags
    returning fragment.id
)
-- The id of a created row is the note's own; that of an updated row is the one it has had since its first import.
select stored.id, incoming.id is not null as created from stored left join incoming on incoming.id = stored.id;
