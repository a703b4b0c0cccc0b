-- Statements of workers/checkup/machine.py.

-- name: clock
-- The database's clock, now and not at the beginning of the transaction.
select clock_timestamp();

-- name: skews
-- How far the clocks of other processes were ahead when they last told. params: back: interval.
-- index: telemetry_performance_snapshots_once.
select host, clock_skew_us from telemetry_performance_snapshots
where window_at > now() - %(back)s::interval and subject = 'process' and clock_skew_us is not null;
