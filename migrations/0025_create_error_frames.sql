-- Where in the code an error arose, once for each fingerprint: modules, functions and lines of Weir and of installed step
-- types, never messages or values. Taken from the rows of failed steps and executions.

create table telemetry_error_frames (
    id uuid primary key,
    fingerprint bytea not null,
    error_type text not null,
    frames text[] not null,
    noted_at timestamptz not null default now(),
    constraint telemetry_error_frames_once unique (fingerprint),
    constraint telemetry_error_frames_bounded check (cardinality(frames) <= 50)
);
