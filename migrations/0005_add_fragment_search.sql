-- Full-text search over fragments. Filling the column rewrites the table: some seconds for a hundred thousand rows.
set local statement_timeout = '10min';

-- The words of title (weight A) and content (weight B), as they are written: no language's stems or stop words.
-- A tsvector holds one megabyte at most, so only the first 100,000 characters of a content count.
alter table fragments add column search tsvector not null generated always as (
    setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', left(content, 100000)), 'B')
) stored;

create index fragments_by_word on fragments using gin (search);
