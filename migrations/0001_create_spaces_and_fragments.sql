-- Spaces group fragments and executions; a filter, not an authorisation.
create table spaces (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null default now(),
    constraint spaces_name_unique unique (name),
    constraint spaces_name_form check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$')
);

insert into spaces (id, name) values ('00000000-0000-7000-8000-000000000001', 'default');

-- Fragments: the built-in records.
create table fragments (
    id uuid primary key,
    space_id uuid not null references spaces (id),
    type text not null,
    title text not null default '',
    content text not null default '',
    state jsonb not null default '{}',
    metadata jsonb not null default '{}',
    tags text[] not null default '{}',
    source text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint fragments_type_form check (type ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    constraint fragments_state_is_object check (jsonb_typeof(state) = 'object'),
    constraint fragments_metadata_is_object check (jsonb_typeof(metadata) = 'object'),
    constraint fragments_times_ordered check (updated_at >= created_at)
);

-- Where an imported fragment came from: a second import of the same note finds the first.
create unique index fragments_source_unique on fragments (space_id, source) where source is not null;
-- Newest first within a type: digests, lists, keyset pages.
create index fragments_by_type on fragments (space_id, type, id desc);
create index fragments_by_tag on fragments using gin (tags);
