-- When a sink last found nothing new in the stream: one row. Then, too, something is known of who was not heard of.
create table telemetry_stream (
    id integer primary key default 1,
    looked_at timestamptz not null,
    constraint telemetry_stream_is_one check (id = 1)
);
