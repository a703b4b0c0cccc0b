-- Statements of workers/checkup/servers.py.

-- name: database
-- Connections that are taken and that there may be, and the size of the database in bytes.
select (select sum(numbackends) from pg_stat_database)::int as taken, current_setting('max_connections')::int as most,
    pg_database_size(current_database()) as size;
