"""Rounds of maintenance: what is done in each, and who asks for it. Nothing piles up while nobody does them."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from functools import partial

import dramatiq
import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from telemetry import chains
from telemetry.connections import connect
from telemetry.errors import StoreUnavailable, WeirError
from telemetry.export.writing import open_reader
from telemetry.partitions import make_partitions
from telemetry.patience import PatientConnection
from telemetry.rollups import aggregator
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.keeping import Kept
from telemetry.rollups.keeping import forget as forget_buckets
from telemetry.settings import RetentionSettings
from telemetry.store import STATEMENT_TIMEOUT
from workers.actors import (
    BUILD_CHAINS,
    CHECK_UP,
    CLEAN,
    RECONCILE,
    ROLL_UP,
    ROUNDS,
    WRITE_EXPORTS,
)
from workers.broker import MAINTENANCE_QUEUE, BellBroker
from workers.bulk import BulkKeys
from workers.checkup.finding import Surroundings
from workers.checkup.rounds import go_round
from workers.checkup.rounds import is_wanted as is_checkup_wanted
from workers.error_frames import note_frames
from workers.executions import reaching_store
from workers.exports import Exports, export_folder
from workers.idempotency import Idempotency
from workers.resources import Resources
from workers.retry_budget import make_budget
from workers.services.cleaner import STATEMENT_TIMEOUT as CLEANING_TIMEOUT
from workers.services.cleaner import Cleaner
from workers.services.cleaner import is_wanted as cleaning_is_wanted
from workers.services.exporter import PAGE_TIMEOUT, Exporter
from workers.services.reconciler import Reconciler, is_wanted

log = structlog.get_logger(__name__)

#: How often the scheduler looks whether lost events are to be given back.
GAPS_INTERVAL = timedelta(seconds=5)
#: How long one statement of roll-ups may run: an hour of which minutes are not kept is made of all its events at once.
ROLL_UP_TIMEOUT = timedelta(minutes=5)


def maintain(resources: Resources) -> None:
    """One round: partitions for the days to come, keys of days gone by. Never raises; the scheduler asks again."""
    try:
        with resources.pool.connection() as connection:
            made = make_partitions(connection, resources.clock.now(), resources.workers.dsl.telemetry.partitions_ahead)
            buckets_forgotten = forget_buckets(
                connection, buckets_kept(resources.workers.retention), resources.clock.now()
            )
        forgotten = Idempotency(resources.pool, resources.executions).forget()
        forgotten += BulkKeys(resources.pool).forget()
        make_budget(resources.pool, resources.clock, resources.workers).forget()
    except (PoolTimeout, psycopg.OperationalError, StoreUnavailable) as error:
        log.warning("maintenance_postponed", reason=type(error).__name__)
        return
    except Exception:
        log.exception("maintenance_failed")
        return
    log.info(
        "maintenance_finished", partitions_made=len(made), keys_forgotten=forgotten, buckets_forgotten=buckets_forgotten
    )


def buckets_kept(retention: RetentionSettings) -> Kept:
    """How long buckets stay, as the settings say."""
    return Kept(
        timedelta(days=retention.minute_metrics_days),
        timedelta(days=retention.aggregated_metrics_days),
        timedelta(days=retention.daily_metrics_days),
        timedelta(days=retention.aggregated_metrics_days),
    )


def make_reconciler(resources: Resources) -> Reconciler:
    """What gives back lost events."""
    connecting = partial(
        connect,
        str(resources.servers.database_url),
        name="weir reconciler",
        autocommit=True,
        statement_timeout=STATEMENT_TIMEOUT,
    )
    return Reconciler(
        connecting,
        resources.pseudonyms.user,
        measures=resources.step_types.measures,
        silence=resources.workers.dsl.telemetry.producer_silence,
    )


def reconcile(reconciler: Reconciler) -> None:
    """One round of giving back lost events. Never raises; the scheduler asks again."""
    try:
        reconciler.run_once()
    except WeirError as error:
        log.warning("reconciliation_failed", reason=error.code)
    except Exception:
        log.exception("reconciliation_failed")


def chain_traces(resources: Resources) -> None:
    """One round of building chains, and of noting where new errors arose. Never raises; the scheduler asks again."""
    try:
        with closing(_long_connection(resources, "chains")) as connection:
            result = chains.build_chains(connection)
            errors = note_frames(connection, resources.clock)
    except (psycopg.OperationalError, StoreUnavailable) as error:
        log.warning("chains_postponed", reason=type(error).__name__)
    except Exception:
        log.exception("chains_failed")
    else:
        log.debug("chains_built", written=result.written, batches=result.batches, errors=errors)


def roll_up(resources: Resources) -> None:
    """One round of making minutes, hours and days. Never raises; the scheduler asks again."""
    try:
        with closing(_long_connection(resources, "roll-ups", ROLL_UP_TIMEOUT)) as connection:
            result = Aggregator(connection, resources.clock).run_once()
    except (psycopg.OperationalError, StoreUnavailable) as error:
        log.warning("roll_ups_postponed", reason=type(error).__name__)
    except Exception:
        log.exception("roll_ups_failed")
    else:
        made = {"minutes": result.minutes, "members": result.member_minutes, "hours": result.hours, "days": result.days}
        log.debug("rolled_up", buckets=result.buckets, is_done=result.is_done, **made)


def check_up(resources: Resources) -> None:
    """One round of looking at everything, stored. Never raises; the scheduler asks again."""
    try:
        with closing(_long_connection(resources, "check-up")) as connection:
            result = go_round(Surroundings(connection, resources.servers, resources.workers, resources.clock))
    except (psycopg.OperationalError, StoreUnavailable) as error:
        log.warning("checkup_postponed", reason=type(error).__name__)
        return
    except Exception:
        log.exception("checkup_failed")
        return
    for finding in result.findings:
        if finding.status != "healthy":
            log.warning("checkup_found", name=finding.name, component=finding.component, status=finding.status)
    log.info("checkup_finished", overall=result.overall, measured=result.measured, forgotten=result.forgotten)


def _long_connection(resources: Resources, name: str, timeout: timedelta = STATEMENT_TIMEOUT) -> PatientConnection:
    """A connection for statements of maintenance, which may take longer than those of steps."""
    url = str(resources.servers.database_url)
    return connect(url, name=f"weir {name}", autocommit=True, statement_timeout=timeout)


def make_cleaner(resources: Resources) -> Cleaner:
    """What deletes what is too old or too much."""
    connecting = partial(
        connect,
        str(resources.servers.database_url),
        name="weir cleaner",
        autocommit=True,
        statement_timeout=CLEANING_TIMEOUT,
    )
    return Cleaner(connecting, resources.workers.retention, resources.clock)


def clean(cleaner: Cleaner) -> None:
    """One round of deleting what is too old or too much. Never raises; the scheduler asks again."""
    try:
        result = cleaner.run_once()
    except WeirError as error:
        log.warning("cleanup_failed", reason=error.code)
    except Exception:
        log.exception("cleanup_failed")
    else:
        rows = {each.table: each.going for each in result.removals if each.going}
        log.info("cleanup_finished", is_done=result.is_done, rows=rows, held_days=result.held)


def make_exporter(resources: Resources) -> Exporter:
    """What writes exports.

    Raises:
        ExportUnwritable: No setting says where they go.
    """
    settings = resources.workers.exports
    exports = Exports(resources.pool, resources.clock, settings)
    folder = export_folder(resources.servers, settings)
    connecting = partial(open_reader, str(resources.servers.database_url), statement_timeout=PAGE_TIMEOUT)
    return Exporter(exports, connecting, folder, resources.clock)


def write_exports(resources: Resources) -> None:
    """One round of writing exports; asks for the next one, if there is more. Never raises; the scheduler asks again."""
    try:
        if make_exporter(resources).run_once():
            ask_for(resources.broker, WRITE_EXPORTS)
    except StoreUnavailable as error:
        log.warning("exports_postponed", reason=type(error).__name__)
    except WeirError as error:
        log.warning("exports_failed", reason=error.code)
    except Exception:
        log.exception("exports_failed")


def ask_for(broker: BellBroker, actor: str) -> timedelta | None:
    """Send the maintenance worker one message, unless as many wait as there are things to ask for.

    Returns:
        After how long to ask again, if it could not be sent.
    """
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=MAINTENANCE_QUEUE, actor_name=actor, args=(), kwargs={}, options={}
    )
    try:
        if broker.depth(MAINTENANCE_QUEUE) < len(ROUNDS):
            broker.enqueue(message)
            return None
    except redis.RedisError as error:
        log.warning("maintenance_not_asked", actor=actor, reason=type(error).__name__)
    return GAPS_INTERVAL


def ask_for_reconciliation(resources: Resources) -> None:
    """Ask for lost events to be given back, if it is time for that, or some are known to be missing.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with reaching_store(), resources.pool.connection() as connection:
        if not is_wanted(
            connection, resources.workers.reconcile_interval, resources.workers.dsl.telemetry.producer_silence
        ):
            return
    ask_for(resources.broker, RECONCILE)


def ask_for_chains(resources: Resources) -> None:
    """Ask for chains to be built, if there is something to build.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with reaching_store(), resources.pool.connection() as connection:
        is_due = chains.is_wanted(connection, resources.workers.chains_interval)
    if is_due:
        ask_for(resources.broker, BUILD_CHAINS)


def ask_for_roll_ups(resources: Resources) -> None:
    """Ask for roll-ups, if a minute is over that is not made.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with reaching_store(), resources.pool.connection() as connection:
        is_due = aggregator.is_wanted(connection, resources.clock.now())
    if is_due:
        ask_for(resources.broker, ROLL_UP)


def ask_for_checkup(resources: Resources) -> None:
    """Ask for everything to be looked at, if that was not done in this window.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with reaching_store(), resources.pool.connection() as connection:
        is_due = is_checkup_wanted(connection, resources.workers.checkup.interval)
    if is_due:
        ask_for(resources.broker, CHECK_UP)


def ask_for_cleaning(resources: Resources) -> None:
    """Ask for what is too old or too much to be deleted, if it is time for that.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with reaching_store(), resources.pool.connection() as connection:
        if not cleaning_is_wanted(connection, resources.workers.retention):
            return
    ask_for(resources.broker, CLEAN)


def ask_for_exports(resources: Resources) -> None:
    """Ask for exports to be written, if some wait, or are to be deleted.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    if Exports(resources.pool, resources.clock, resources.workers.exports).is_wanted():
        ask_for(resources.broker, WRITE_EXPORTS)
