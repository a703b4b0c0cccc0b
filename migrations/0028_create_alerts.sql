-- Alerts: rules, how each stands, what fired, who was told, and who wants quiet.

-- `words` is the rule as people write it. `origin`: Weir's own, declared in `weir.toml`, or made by a user. `is_enabled` is
-- what somebody switched it to; none as long as nobody did, and `words` decide.
create table telemetry_alert_rules (
    name text primary key,
    origin text not null,
    words jsonb not null,
    is_enabled boolean,
    changed_at timestamptz not null,
    constraint telemetry_alert_rules_origin_known check (origin in ('weir', 'file', 'user'))
);

-- How a rule stands, and what is remembered of it from one window to the next. `evaluated_until` is the end of the last
-- window that was looked at; `skipped_windows` were not, for there were too many at once. `notified_at` is when people
-- were last told that an alert of it had begun.
create table telemetry_alert_states (
    rule text primary key references telemetry_alert_rules (name) on delete cascade,
    state text not null,
    since timestamptz,
    is_open boolean not null,
    violations integer not null,
    held interval not null,
    violated_at timestamptz,
    value float8,
    evaluated_until timestamptz,
    skipped_windows bigint not null default 0,
    notified_at timestamptz,
    constraint telemetry_alert_states_state_known check (
        state in ('ok', 'pending', 'firing', 'resolved', 'no_data', 'stale', 'error')
    ),
    constraint telemetry_alert_states_firing_is_open check (state <> 'firing' or is_open)
);

-- Every time a rule fired. `message` is made of numbers and registered names; `acknowledged_by` is a pseudonym. `withheld`
-- is what was last kept back of it, and why (`fire:silenced`).
create table telemetry_alerts (
    id uuid primary key,
    rule text not null,
    metric text not null,
    statistic text not null,
    unit text not null,
    severity text not null,
    operator text not null,
    threshold float8 not null,
    value float8,
    window_ended_at timestamptz not null,
    fired_at timestamptz not null,
    message text not null,
    state text not null,
    channels text[] not null,
    notified_at timestamptz,
    withheld text,
    acknowledged_at timestamptz,
    acknowledged_by bytea,
    resolved_at timestamptz,
    constraint telemetry_alerts_state_known check (state in ('firing', 'resolved')),
    constraint telemetry_alerts_severity_known check (severity in ('info', 'warning', 'critical')),
    constraint telemetry_alerts_resolved_has_time check ((state = 'resolved') = (resolved_at is not null)),
    constraint telemetry_alerts_acknowledged_has_time check (acknowledged_by is null or acknowledged_at is not null)
);

create unique index telemetry_alerts_open on telemetry_alerts (rule) where state = 'firing';

-- Somebody wants no notifications for a while: of a rule, of a severity, or of all. It always ends.
create table telemetry_alert_silences (
    id uuid primary key,
    rule text,
    severity text,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    created_at timestamptz not null,
    created_by bytea,
    constraint telemetry_alert_silences_ends check (ends_at >= starts_at)
);

create index telemetry_alert_silences_ending on telemetry_alert_silences (ends_at);

-- What each channel was to tell, and what became of it. `withheld`: kept back, and `reason` says why; `capped`: one too many
-- in an hour, told in the summary `summary_id`. `due_at` is when it is tried next, or tried again if whoever tries is killed.
create table telemetry_alert_deliveries (
    id uuid primary key,
    channel text not null,
    kind text not null,
    alert_ids uuid[] not null,
    rules text[] not null,
    status text not null,
    reason text,
    attempts integer not null default 0,
    created_at timestamptz not null,
    due_at timestamptz,
    finished_at timestamptz,
    latency_us bigint,
    summary_id uuid references telemetry_alert_deliveries (id) on delete set null,
    constraint telemetry_alert_deliveries_kind_known check (
        kind in ('fire', 'resolve', 'renotify', 'summary', 'test')
    ),
    constraint telemetry_alert_deliveries_status_known check (
        status in ('due', 'delivered', 'failed', 'withheld', 'capped')
    ),
    constraint telemetry_alert_deliveries_due_has_time check ((status = 'due') = (due_at is not null)),
    constraint telemetry_alert_deliveries_reason_given check (status not in ('failed', 'withheld') or reason is not null)
);

create index telemetry_alert_deliveries_due on telemetry_alert_deliveries (channel, id) where status = 'due';
create index telemetry_alert_deliveries_newest on telemetry_alert_deliveries (channel, created_at);
create index telemetry_alert_deliveries_summed on telemetry_alert_deliveries (summary_id) where summary_id is not null;

-- Every time a delivery was tried. `begun` and no more: whoever tried was killed, and nobody knows whether it arrived.
create table telemetry_alert_attempts (
    delivery_id uuid not null references telemetry_alert_deliveries (id) on delete cascade,
    attempt integer not null,
    began_at timestamptz not null,
    outcome text not null,
    reason text,
    latency_us bigint,
    constraint telemetry_alert_attempts_pkey primary key (delivery_id, attempt),
    constraint telemetry_alert_attempts_outcome_known check (outcome in ('begun', 'delivered', 'failed'))
);
