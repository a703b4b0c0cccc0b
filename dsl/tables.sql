-- Statements of dsl/tables.py. Those that read and change rows are composed in dsl/table_statements.py.

-- name: find_table
-- A relation by name. schema: text, none to look where Weir's own tables are found; relation: text. No row: there is none.
select c.oid::bigint as oid, c.relkind::text as kind
from pg_class c
where c.oid = case
    when %(schema)s::text is null then to_regclass(quote_ident(%(relation)s::text))
    else to_regclass(quote_ident(%(schema)s::text) || '.' || quote_ident(%(relation)s::text))
end;

-- name: find_own_relatives
-- Which of Weir's own tables a relation is, or shares rows with as a partition or by inheritance. oid: bigint;
-- own: text[], names.
with recursive family as (
    select %(oid)s::oid as oid
    union
    select case when i.inhrelid = f.oid then i.inhparent else i.inhrelid end
    from family f join pg_inherits i on f.oid in (i.inhrelid, i.inhparent)
)
select own.name from unnest(%(own)s::text[]) as own (name)
where to_regclass(quote_ident(own.name)) in (select oid from family)
order by own.name;

-- name: describe_columns
-- Columns of a relation: the name of the type (of a domain: of what it is based on), and whether a statement may set it;
-- whether it alone tells rows apart. oid: bigint.
select a.attname as name,
    coalesce(base.typname, t.typname) as type,
    coalesce(base.typcategory, t.typcategory)::text as category,
    a.attgenerated = '' and a.attidentity <> 'a' as settable,
    exists (
        select from pg_index i
        where i.indrelid = a.attrelid and i.indisunique and i.indisvalid and i.indpred is null
            and i.indnkeyatts = 1 and i.indkey[0] = a.attnum
    ) as is_unique
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_type base on base.oid = t.typbasetype
where a.attrelid = %(oid)s::oid and a.attnum > 0 and not a.attisdropped;
