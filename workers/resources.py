"""What a process holds while it lives, opened and closed in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis
from psycopg_pool import ConnectionPool

from dsl.extensions import StepTypes, discover
from dsl.library import PACKS, Library
from telemetry.clock import Clock, SystemClock
from telemetry.connections import open_pool, open_redis
from telemetry.errors import SettingsInvalid
from telemetry.pipeline import open_recorder
from telemetry.privacy import Pseudonyms
from telemetry.recorder import Recorder
from telemetry.settings import TelemetrySettings
from workers.broker import BellBroker
from workers.executions import Executions
from workers.hints import Hints
from workers.middleware import CausingIds
from workers.occurrences import Occurrences
from workers.schedules import Schedules
from workers.server_clock import ServerClock
from workers.settings import ServerSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds while it lives; everything below is built from these by hand.

    Attributes:
        servers: Where things are.
        workers: How things run; holds the settings of dsl and telemetry.
        pool: Postgres, in autocommit mode.
        redis: The queue's Redis, for commands.
        broker: Dramatiq's.
        clock: The machine's.
        recorder: Takes events.
        pseudonyms: Hides users.
        library: Command files.
        executions: Accepts, claims, shows.
        hints: Wakes lanes.
        step_types: Built-in ones, and those of installed packages.
        occurrences: Deals with due times.
        schedules: Makes, changes and shows schedules.
        server_clock: Says what is due: the database's, as far as it was asked.
    """

    servers: ServerSettings
    workers: WorkerSettings
    pool: ConnectionPool
    redis: redis.Redis
    broker: BellBroker
    clock: Clock
    recorder: Recorder
    pseudonyms: Pseudonyms
    library: Library
    executions: Executions
    hints: Hints
    step_types: StepTypes
    occurrences: Occurrences
    schedules: Schedules
    server_clock: ServerClock


@contextmanager
def open_resources(
    servers: ServerSettings, workers: WorkerSettings, process: str, *, statement_timeout: timedelta | None = None
) -> Iterator[Resources]:
    """Open everything a process needs; on leaving, events still in memory are handed over first.

    Args:
        servers: Where things are.
        workers: How things run.
        process: Its name.
        statement_timeout: How long one SQL statement may run; that of steps unless given.

    Raises:
        SettingsInvalid: A URL or the pseudonym key is missing.
    """
    database_url, redis_url, key = required(servers, workers.dsl.telemetry)
    clock = SystemClock()
    step_types = step_types_of(workers)
    with ExitStack() as stack:
        pool = stack.enter_context(
            open_pool(
                database_url,
                name=f"weir-{process}",
                max_size=servers.database_pool,
                autocommit=True,
                wait=None,
                statement_timeout=statement_timeout or workers.dsl.statement_timeout,
            )
        )
        client = open_redis(redis_url)
        stack.callback(client.close)
        recorder = open_recorder(
            workers.dsl.telemetry,
            name=process,
            database_url=database_url,
            redis_url=redis_url,
            clock=clock,
            measures=step_types.measures,
        )
        stack.callback(recorder.close)
        broker = BellBroker(redis_url, [CausingIds()])
        stack.callback(broker.close)
        pseudonyms = Pseudonyms(key.encode())
        executions = Executions(pool, clock, recorder, pseudonyms)
        library = Library(command_folders(servers), step_types.registry, workers.dsl)
        hints = Hints(broker, clock)
        server_clock = ServerClock(clock)
        occurrences = Occurrences(
            pool, server_clock, recorder, pseudonyms, library, hints, workers.dsl, workers.schedule_grace
        )
        yield Resources(
            servers=servers,
            workers=workers,
            pool=pool,
            redis=client,
            broker=broker,
            clock=clock,
            recorder=recorder,
            pseudonyms=pseudonyms,
            library=library,
            executions=executions,
            hints=hints,
            step_types=step_types,
            occurrences=occurrences,
            schedules=Schedules(pool, occurrences),
            server_clock=server_clock,
        )


def step_types_of(workers: WorkerSettings) -> StepTypes:
    """Step types of this installation, and what they may report; those that are broken are logged and left out."""
    return discover(tables=[table.name for table in workers.dsl.tables])


def command_folders(servers: ServerSettings) -> list[Path]:
    """Where command files are looked for: packs, the user's folder, the home's. A later one overrides a pack."""
    folders = [PACKS, servers.commands_dir]
    if servers.home is not None:
        folders.append(servers.home / "commands")
    return folders


def required(servers: ServerSettings, telemetry: TelemetrySettings) -> tuple[str, str, str]:
    """Address of Postgres, address of the queue's Redis, pseudonym key.

    Raises:
        SettingsInvalid: One is missing; all that are are named.
    """
    found = {
        "WEIR_DATABASE_URL": servers.database_url,
        "WEIR_REDIS_URL": servers.redis_url,
        "WEIR_TELEMETRY_PSEUDONYM_KEY": telemetry.pseudonym_key,
    }
    missing = [
        f"{name}: needed by a process that `weir up` did not start" for name, value in found.items() if not value
    ]
    if missing:
        raise SettingsInvalid(missing)
    return str(servers.database_url), str(servers.redis_url), str(telemetry.pseudonym_key)
