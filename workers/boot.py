"""Entry of every process: settings -> resources -> broker -> actors. The composition root below the API."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from functools import partial
from threading import Event

import dramatiq
import psycopg
import structlog
from psycopg_pool import ConnectionPool, PoolTimeout

from dsl.channels import make_channels
from dsl.tables import Tables
from migrations.runner import require_current
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.errors import StoreUnavailable
from telemetry.logs import configure_logs
from telemetry.pipeline import open_sink
from telemetry.pulse import Pulse
from workers.actors import (
    BUILD_CHAINS,
    CHECK_UP,
    CLEAN,
    MAINTAIN,
    RECONCILE,
    ROLL_UP,
    WRITE_EXPORTS,
    declare_lane,
    declare_maintenance,
)
from workers.alarm import Alarm
from workers.alerting.declarer import RuleDeclarer
from workers.alerting.evaluator import Evaluator
from workers.alerting.post import Post, posting
from workers.alerting.probes import probes
from workers.broker import BELL_WAIT, BellBroker
from workers.checkup.snapshots import Snapshots, telling
from workers.flusher import Flusher
from workers.health import Answer, answering
from workers.leases import Heartbeat, Lease
from workers.readiness import (
    PATIENCE,
    look_at_loop,
    look_at_postgres,
    look_at_recorder,
    look_at_redis,
    look_at_stream,
)
from workers.resources import Resources, open_resources, required, step_types_of
from workers.retry_budget import make_budget
from workers.rounds import (
    GAPS_INTERVAL,
    ask_for,
    ask_for_chains,
    ask_for_checkup,
    ask_for_cleaning,
    ask_for_exports,
    ask_for_reconciliation,
    ask_for_roll_ups,
    chain_traces,
    check_up,
    clean,
    maintain,
    make_cleaner,
    make_reconciler,
    reconcile,
    roll_up,
    write_exports,
)
from workers.runner import Runner
from workers.scheduler import Aside, Leadership, Periodic, Scheduler
from workers.services.declarer import Declarer
from workers.services.reaper import Reaper
from workers.services.sweeper import Sweeper
from workers.services.ticker import Ticker
from workers.settings import ServerSettings, WorkerSettings
from workers.stops import Stops, give_back, mark_killed
from workers.strays import Strays
from workers.tools import WorkerTools
from workers.watch import Run, Watch

log = structlog.get_logger(__name__)

#: Between two looks for a Postgres that does not answer yet.
SCHEMA_PATIENCE = timedelta(seconds=1)

#: How long a stopping worker waits for runs that it has interrupted.
INTERRUPT_PATIENCE = timedelta(seconds=2)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def make_runner(
    resources: Resources, flusher: Flusher, lease: Lease, watch: Watch, alarm: Alarm | None = None
) -> Runner:
    """What runs this process's claims, under a lease that somebody holds."""
    settings = resources.workers.dsl
    return Runner(
        worker_id=lambda: lease.worker_id,
        step_types=resources.step_types,
        library=resources.library,
        executions=resources.executions,
        pool=resources.pool,
        clock=resources.clock,
        recorder=resources.recorder,
        tools=WorkerTools(resources.clock, resources.pseudonyms, settings, resources.library),
        flusher=flusher,
        settings=settings,
        watch=watch,
        hints=resources.hints,
        slow_command_threshold=resources.workers.slow_command_threshold,
        budget=make_budget(resources.pool, resources.clock, resources.workers),
        alarm=alarm,
    )


def make_alarm(resources: Resources) -> Alarm:
    """What queues, and wakes, what is due sooner than the next sweep."""

    def ring() -> None:
        for lane in resources.executions.promote().lanes:
            resources.hints.wake(lane)

    return Alarm(ring, resources.clock, resources.workers.sweep_interval)


def make_evaluator(resources: Resources) -> Evaluator:
    """What evaluates the rules of alerts."""
    telemetry = resources.workers.dsl.telemetry
    return Evaluator(
        resources.pool,
        resources.clock,
        resources.recorder,
        resources.workers.alerts,
        probes(resources.servers.home, telemetry.producer_silence),
        query_timeout=telemetry.query_timeout,
        silence=telemetry.producer_silence,
    )


def make_post(resources: Resources) -> Post:
    """What carries messages of alerts to their channels."""
    channels = make_channels(resources.workers.dsl.channels, resources.clock)
    return Post(resources.pool, resources.clock, channels, resources.workers.alerts)


def make_rule_declarer(resources: Resources) -> RuleDeclarer:
    """What brings the rules that are declared in line with what is stored."""
    return RuleDeclarer(resources.pool, resources.clock, resources.workers.alerts, resources.pseudonyms)


def make_lease(resources: Resources) -> Lease:
    """The lease of this process, on a connection of its own."""
    workers = resources.workers
    open_connection = partial(
        connect,
        str(resources.servers.database_url),
        name="weir-lease",
        autocommit=True,
        statement_timeout=workers.heartbeat,
    )
    return Lease(open_connection, resources.clock, lane=workers.lane, length=workers.lease)


def make_watch(resources: Resources, lease: Lease) -> Watch:
    """What stops runs; one that cannot be stopped ends this process."""

    def kill(stuck: Run) -> None:
        log.critical("run_stuck", execution_id=str(stuck.fence.claim.id), reason=stuck.control.asked)
        mark_killed(stuck)
        give_back([run for run in watch.left() if run is not stuck])
        lease.leave()
        resources.recorder.close()
        os.kill(os.getpid(), signal.SIGKILL)

    workers = resources.workers
    watch = Watch(resources.clock, patience=workers.cancel_patience, stuck_after=workers.stuck_after, on_stuck=kill)
    return watch


def await_schema(database_url: str, stop: Event) -> bool:
    """Wait until Postgres answers and has the schema of this program; False if told to stop before.

    Raises:
        SchemaOutOfDate: It has another one. Waiting would not help.
    """
    while not stop.is_set():
        try:
            require_current(database_url)
        except StoreUnavailable as error:
            log.warning("schema_unknown", reason=error.code)
            stop.wait(SCHEMA_PATIENCE.total_seconds())
        else:
            return True
    return False


def run_worker(servers: ServerSettings, workers: WorkerSettings) -> None:
    """Run executions until SIGTERM; then finish those that run, and hand back the messages not begun."""
    configure_logs(servers.log_format, servers.log_level, "worker")
    stop = _stop_on_signal()
    with open_resources(servers, workers, "worker") as resources, _consumer_health(resources, "worker"):
        await_schema(str(servers.database_url), stop)
        flusher = Flusher(workers.flush_interval)
        if workers.dsl.tables:
            check_tables(Tables(workers.dsl.tables), resources.pool)
        lease = make_lease(resources)
        watch = make_watch(resources, lease)
        alarm = make_alarm(resources)
        runner = make_runner(resources, flusher, lease, watch, alarm)
        strays = Strays(resources.pool, resources.executions, resources.clock, resources.recorder, runner.held)
        heartbeat = Heartbeat(lease, workers.heartbeat, watch.cancel, strays.look)
        declare_lane(resources.broker, workers.lane, runner)
        flusher.start()
        alarm.start()
        watch.start()
        heartbeat.start()
        calm_collector()
        tell = snapshots_of(resources, "worker", slots=workers.threads, slots_taken=lambda: len(runner.held()))
        with telling(tell):
            _consume(resources.broker, workers, stop, on_stop=runner.stop)
        # What took longer than that is interrupted: it would hold its execution's lock, and its end with its process
        # would count as a death.
        watch.interrupt(INTERRUPT_PATIENCE)
        flusher.stop()
        alarm.stop()
        watch.stop()
        give_back(watch.left())
        strays.clear(lease.worker_id)
        heartbeat.stop()


def calm_collector() -> None:
    """Look for cycles less often, and not among what is here by now: a run leaves thousands of objects and few cycles.

    A twentieth of a worker's time, as measured by `make bench`.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def check_tables(tables: Tables, pool: ConnectionPool) -> None:
    """Say how the database differs from what is declared of its tables. Steps that use them say it again, and fail."""
    try:
        with pool.connection() as connection:
            for fault in tables.faults(connection):
                log.error("table_declaration_wrong", fault=fault)
    except (PoolTimeout, psycopg.Error) as error:
        log.warning("tables_not_checked", reason=type(error).__name__)


def run_maintenance(servers: ServerSettings, workers: WorkerSettings) -> None:
    """Do maintenance when the scheduler asks for it, until SIGTERM."""
    configure_logs(servers.log_format, servers.log_level, "maintenance")
    stop = _stop_on_signal()
    with open_resources(servers, workers, "maintenance") as resources, _consumer_health(resources, "maintenance"):
        await_schema(str(servers.database_url), stop)
        reconciler = make_reconciler(resources)
        rounds = {
            MAINTAIN: partial(maintain, resources),
            RECONCILE: partial(reconcile, reconciler),
            BUILD_CHAINS: partial(chain_traces, resources),
            ROLL_UP: partial(roll_up, resources),
            CHECK_UP: partial(check_up, resources),
            CLEAN: partial(clean, make_cleaner(resources)),
            WRITE_EXPORTS: partial(write_exports, resources),
        }
        declare_maintenance(resources.broker, rounds)
        with telling(snapshots_of(resources, "maintenance")):
            _consume(resources.broker, workers, stop, threads=1)


def snapshots_of(
    resources: Resources, kind: str, *, slots: int | None = None, slots_taken: Callable[[], int] | None = None
) -> Snapshots:
    """What tells of this process, once it is started."""
    return Snapshots(
        kind,
        str(resources.servers.database_url),
        clock=resources.clock,
        interval=resources.workers.checkup.interval,
        recorder=resources.recorder,
        slots=slots,
        slots_taken=slots_taken,
    )


def run_sink(servers: ServerSettings, workers: WorkerSettings) -> None:
    """Move events from the stream to Postgres until SIGTERM."""
    configure_logs(servers.log_format, servers.log_level, "sink")
    telemetry = workers.dsl.telemetry
    database_url, redis_url, _ = required(servers, telemetry)
    stop = _stop_on_signal()
    measures = step_types_of(workers).measures
    sink = open_sink(telemetry, database_url=database_url, redis_url=redis_url, clock=SystemClock(), measures=measures)
    look = _look(
        partial(connect, database_url, name="weir sink health"),
        telemetry.redis_url or redis_url,
        sink.pulse,
        wait=telemetry.sink_idle_block,
    )

    def look_at_sink() -> Answer:
        return look() | look_at_stream(sink.figures, telemetry) | sink.figures.shown()

    with answering(servers.health_dir, "sink", look_at_sink):
        await_schema(database_url, stop)
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda *_: sink.stop())
        # Told to stop before the sink could hear of it.
        if stop.is_set():
            sink.stop()
        with telling(Snapshots("sink", database_url, clock=SystemClock(), interval=workers.checkup.interval)):
            sink.run()


def run_scheduler(servers: ServerSettings, workers: WorkerSettings) -> None:
    """Tick until SIGTERM."""
    configure_logs(servers.log_format, servers.log_level, "scheduler")
    stop = _stop_on_signal()
    database_url, _, _ = required(servers, workers.dsl.telemetry)
    with open_resources(servers, workers, "scheduler") as resources:
        stops = Stops(resources.pool, resources.executions, resources.clock, resources.recorder, resources.hints)
        sweeper = Sweeper(resources.executions, resources.broker, resources.hints)
        declarer = Declarer(resources.library, resources.schedules)
        ticker = Ticker(resources.occurrences, resources.server_clock)
        reaper = Reaper(
            resources.pool,
            resources.executions,
            resources.clock,
            resources.recorder,
            resources.hints,
            lease=workers.lease,
            max_deaths=workers.max_deaths,
        )
        alerts = Aside("alerts", make_evaluator(resources).run_once)
        work = [
            Periodic("declared_schedules", workers.schedule_interval, declarer.run_once),
            Periodic("schedules", workers.schedule_interval, lambda: ticker.run_once().again_in),
            Periodic("sweep", workers.sweep_interval, lambda: sweeper.run_once().again_in),
            Periodic("stop", workers.sweep_interval, stops.heed),
            Periodic("expire", workers.sweep_interval, stops.expire),
            Periodic("reap", workers.sweep_interval, reaper.run_once),
            Periodic("maintenance", workers.maintenance_interval, partial(ask_for, resources.broker, MAINTAIN)),
            Periodic("reconcile", GAPS_INTERVAL, partial(ask_for_reconciliation, resources)),
            Periodic("chains", GAPS_INTERVAL, partial(ask_for_chains, resources)),
            Periodic("roll_ups", GAPS_INTERVAL, partial(ask_for_roll_ups, resources)),
            Periodic("checkup", GAPS_INTERVAL, partial(ask_for_checkup, resources)),
            Periodic("exports", GAPS_INTERVAL, partial(ask_for_exports, resources)),
            Periodic("cleanup", workers.maintenance_interval, partial(ask_for_cleaning, resources)),
            Periodic("alert_rules", workers.alerts.interval, make_rule_declarer(resources).run_once),
            # Five hundred rules, or a store that is slow, take longer than a sweep or a dead worker may wait.
            Periodic("alerts", workers.alerts.interval, alerts),
        ]
        scheduler = Scheduler(Leadership(database_url), work, resources.clock)
        with _health(resources, "scheduler", scheduler.pulse, wait=workers.sweep_interval):
            await_schema(database_url, stop)
            with telling(snapshots_of(resources, "scheduler")), posting(make_post(resources)), closing(alerts):
                scheduler.run(stop)


def _consume(
    broker: BellBroker,
    workers: WorkerSettings,
    stop: Event,
    *,
    threads: int | None = None,
    on_stop: object = None,
) -> None:
    count = threads or workers.threads
    worker = dramatiq.Worker(broker, worker_timeout=1000, worker_threads=count)
    worker.queue_prefetch = count
    worker.start()
    stop.wait()
    if callable(on_stop):
        on_stop()
    worker.stop(timeout=workers.shutdown_timeout // timedelta(milliseconds=1))


def _consumer_health(resources: Resources, process: str) -> AbstractContextManager[None]:
    return _health(resources, process, resources.broker.pulse, wait=BELL_WAIT)


def _health(resources: Resources, process: str, pulse: Pulse, *, wait: timedelta) -> AbstractContextManager[None]:
    """Answers for a process that works with `resources`, if the settings say where."""
    connection = partial(resources.pool.connection, timeout=PATIENCE.total_seconds())
    look = _look(connection, str(resources.servers.redis_url), pulse, wait=wait)
    return answering(resources.servers.health_dir, process, lambda: look() | look_at_recorder(resources.recorder))


def _look(
    connection: Callable[[], AbstractContextManager[psycopg.Connection]], redis_url: str, pulse: Pulse, wait: timedelta
) -> Callable[[], dict[str, str]]:
    def look() -> dict[str, str]:
        return look_at_loop(pulse, wait) | look_at_postgres(connection) | look_at_redis(redis_url)

    return look


def _stop_on_signal() -> Event:
    stop = Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop
