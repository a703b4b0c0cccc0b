-- Statements of workers/checkup/snapshots.py.

-- name: tell
-- What a process tells of the window that ended last. params: id; interval; name; host; process_id; memory_bytes; cpu_share;
-- threads; slots; slots_taken; events_waiting, events_spooled, events_dropped; clock_skew_us.
-- index: telemetry_performance_snapshots_once.
insert into telemetry_performance_snapshots (
    id, window_at, window_us, subject, name, host, process_id, memory_bytes, cpu_share, threads, slots, slots_taken,
    events_waiting, events_spooled, events_dropped, clock_skew_us
)
values (
    %(id)s, date_bin(%(interval)s::interval, now(), timestamptz '2000-01-01 00:00:00+00') - %(interval)s::interval,
    (extract(epoch from %(interval)s::interval) * 1000000)::bigint, 'process', %(name)s, %(host)s, %(process_id)s,
    %(memory_bytes)s, %(cpu_share)s, %(threads)s, %(slots)s, %(slots_taken)s, %(events_waiting)s, %(events_spooled)s,
    %(events_dropped)s, %(clock_skew_us)s
)
on conflict (window_at, subject, name, host, process_id) do nothing;
