"""The one settings object of a process, and how it is read."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsl.checking.shape import LANE
from dsl.command import DEFAULT_LANE
from dsl.declarations import TableSettings, declare
from dsl.settings import ChannelSettings, DslSettings
from telemetry.alerts.settings import AlertSettings, check_rules
from telemetry.errors import SettingsInvalid
from telemetry.settings import LiveSettings, RetentionSettings, SettingsReader, TelemetrySettings, setting
from workers.settings import CheckupSettings, ExportSettings, ServerSettings, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping


#: Names and addresses by which a machine calls itself.
LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: A name or an address, without port, brackets or wildcards.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*::?[0-9a-f:.]*", re.IGNORECASE)


@dataclass(frozen=True)
class ApiSettings:
    """The HTTP server, and how the command line reaches it."""

    section: ClassVar[str] = "api"

    host: str = setting("127.0.0.1", "Address the API listens on; any but loopback needs WEIR_API_GUARDED.")
    guarded: bool = setting(
        False,
        "Say that something in front of the API's port decides who may reach it: a container's port published on "
        "loopback, a firewall, a proxy that asks for a password. The API itself asks nobody who they are.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        LOOPBACK, "Names by which the API may be addressed, without ports; requests for any other host are refused."
    )
    port: int = setting(7420, "Port the API listens on; 0 picks a free one.", minimum=0, maximum=65_535)
    threads: int = setting(16, "Requests one API process serves at a time, beside streams.", minimum=2, maximum=512)
    streams: int = setting(
        32,
        "Streams of events one API process holds open at a time, each with a thread of its own; who comes then is "
        "answered 503.",
        minimum=1,
        maximum=512,
    )
    processes: int = setting(1, "API processes.", minimum=1, maximum=64)
    max_body_bytes: int = setting(16_777_216, "Bytes of a request body, at most.", minimum=1024)
    max_wait: timedelta = setting(timedelta(seconds=60), "Longest wait that `Prefer: wait=N` is granted.")
    statement_timeout: timedelta = setting(
        timedelta(seconds=8),
        "How long one SQL statement of a request may run; then, or a second later where Postgres is silent, the answer"
        " is 503.",
        minimum=timedelta(milliseconds=10),
    )
    max_queued: int = setting(
        100_000,
        "Executions that may wait in a lane; submissions on top are refused with 429. `weir queues limit` sets others.",
        minimum=1,
        maximum=2_000_000_000,
    )
    max_queue_age: timedelta = setting(
        timedelta(0), "How long one of them may have waited, likewise; 0s is no limit.", minimum=timedelta(0)
    )
    request_timeout: timedelta = setting(
        timedelta(seconds=10), "How long the command line waits for an answer (beyond what it asked to wait)."
    )


@dataclass(frozen=True)
class ClientSettings:
    """How the command line finds the API, and shows what it says; top level, because people type them."""

    section: ClassVar[str] = ""

    url: str | None = setting(None, "Base URL of the API the command line talks to; by default the local stack's.")
    api_key: str | None = setting(None, "Key sent with every request (takes effect with access control).", secret=True)
    # Read where it is used, too: nothing else of the settings is needed there, and all of them cost time.
    pager: str | None = setting(
        None, "Shows long lists page by page; by default that of `PAGER`, else `less`; `cat` is none."
    )


@dataclass(frozen=True)
class Settings:
    """Everything a process was told, complete and checked."""

    api: ApiSettings = field(default_factory=ApiSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    servers: ServerSettings = field(default_factory=ServerSettings)
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    live: LiveSettings = field(default_factory=LiveSettings)

    @property
    def dsl(self) -> DslSettings:
        return self.workers.dsl

    @property
    def telemetry(self) -> TelemetrySettings:
        return self.workers.dsl.telemetry


#: Every section, in the order of the reference page.
SECTIONS: tuple[type[Any], ...] = (
    ServerSettings,
    ClientSettings,
    ApiSettings,
    WorkerSettings,
    CheckupSettings,
    DslSettings,
    TelemetrySettings,
    LiveSettings,
    RetentionSettings,
    ExportSettings,
    AlertSettings,
    ChannelSettings,
)


def load_settings(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Settings from the environment and `weir.toml` in `directory` (default: the current folder).

    Raises:
        SettingsInvalid: Anything was wrong; every fault is named, not just the first.
    """
    environ = os.environ if environ is None else environ
    document, faults = _read_file((directory or Path.cwd()) / "weir.toml")
    reader = SettingsReader(environ, document, faults)
    telemetry = reader.read(TelemetrySettings)
    tables = declare(reader.read_each(TableSettings), reader.faults)
    dsl = replace(reader.read(DslSettings), telemetry=telemetry, tables=tables, channels=reader.read(ChannelSettings))
    settings = Settings(
        api=reader.read(ApiSettings),
        client=reader.read(ClientSettings),
        servers=reader.read(ServerSettings),
        live=reader.read(LiveSettings),
        workers=replace(
            reader.read(WorkerSettings),
            dsl=dsl,
            checkup=reader.read(CheckupSettings),
            retention=reader.read(RetentionSettings),
            exports=reader.read(ExportSettings),
            alerts=replace(
                reader.read(AlertSettings), rules=check_rules(reader.read_tables("alerts", "rules"), reader.faults)
            ),
        ),
    )
    reader.finish()
    reader.faults.extend(_relations(settings))
    if reader.faults:
        raise SettingsInvalid(reader.faults)
    return settings


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file), []
    except FileNotFoundError:
        return {}, []
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return {}, [f"{path}: cannot be read: {error}"]


def _relations(settings: Settings) -> list[str]:
    """Faults of values that are fine alone and wrong together."""
    faults = []
    telemetry, checkup = settings.telemetry, settings.workers.checkup
    if settings.api.host not in LOOPBACK and not settings.api.guarded:
        faults.append(
            f"WEIR_API_HOST = {settings.api.host!r}: everybody who reaches that address may do everything. Listen on "
            f"loopback ({', '.join(LOOPBACK)}), or, if something in front of the port decides who may reach it, say so "
            "with WEIR_API_GUARDED=true"
        )
    if not settings.api.allowed_hosts:
        faults.append("WEIR_API_ALLOWED_HOSTS is empty: with no name allowed, nobody could ask anything")
    faults.extend(
        f"WEIR_API_ALLOWED_HOSTS: {name!r} is no host: expected names or addresses without port, brackets or wildcards"
        for name in settings.api.allowed_hosts
        if not _HOST.fullmatch(name)
    )
    if settings.workers.lane not in settings.dsl.lanes:
        faults.append(
            f"WEIR_WORKER_LANE = {settings.workers.lane!r} is not among WEIR_DSL_LANES: {', '.join(settings.dsl.lanes)}"
        )
    faults.extend(
        f"WEIR_DSL_LANES: {lane!r} cannot be a lane: expected lower-case letters, digits, . _ and -, and not `dead`"
        for lane in settings.dsl.lanes
        if not LANE.fullmatch(lane) or lane == "dead"
    )
    if DEFAULT_LANE not in settings.dsl.lanes:
        faults.append(f"WEIR_DSL_LANES must have {DEFAULT_LANE!r}: commands that name no lane are in it")
    if telemetry.query_default_limit > telemetry.query_max_limit:
        faults.append("WEIR_TELEMETRY_QUERY_DEFAULT_LIMIT is larger than WEIR_TELEMETRY_QUERY_MAX_LIMIT")
    if telemetry.batch_size > telemetry.buffer_max_events:
        faults.append("WEIR_TELEMETRY_BATCH_SIZE is larger than WEIR_TELEMETRY_BUFFER_MAX_EVENTS")
    if telemetry.alive_interval * 2 >= telemetry.producer_silence:
        faults.append(
            "WEIR_TELEMETRY_PRODUCER_SILENCE is not more than twice WEIR_TELEMETRY_ALIVE_INTERVAL: processes that have "
            "nothing to do would count as killed"
        )
    pairs = {
        ("LAG_WARNING", "LAG_CRITICAL"): checkup.lag_warning > checkup.lag_critical,
        ("ERROR_PERCENT_WARNING", "ERROR_PERCENT_CRITICAL"): (
            checkup.error_percent_warning > checkup.error_percent_critical
        ),
        ("DISK_CRITICAL_BYTES", "DISK_WARNING_BYTES"): checkup.disk_critical_bytes > checkup.disk_warning_bytes,
        ("SKEW_WARNING", "SKEW_CRITICAL"): checkup.skew_warning > checkup.skew_critical,
        ("FAST_BELOW", "SLOW_FROM"): checkup.fast_below > checkup.slow_from,
        ("SLOW_FROM", "CRITICAL_FROM"): checkup.slow_from > checkup.critical_from,
    }
    faults.extend(
        f"WEIR_CHECKUP_{one} is more than WEIR_CHECKUP_{other}" for (one, other), is_wrong in pairs.items() if is_wrong
    )
    faults.extend(_retention_faults(settings.workers.retention))
    faults.extend(_export_faults(settings.workers.exports))
    if settings.workers.heartbeat * 2 > settings.workers.lease:
        faults.append("WEIR_WORKER_HEARTBEAT is more than half of WEIR_WORKER_LEASE: one late beat loses it")
    if settings.workers.threads + 2 > settings.servers.database_pool:
        faults.append("WEIR_WORKER_THREADS needs WEIR_DATABASE_POOL to be at least 2 larger than itself")
    return faults


def _retention_faults(retention: RetentionSettings) -> list[str]:
    faults = []
    try:
        retention.component_days()
    except ValueError as error:
        faults.append(f"WEIR_RETENTION_COMPONENTS: {error}")
    if retention.executions_days < retention.raw_events_days:
        faults.append("WEIR_RETENTION_EXECUTIONS_DAYS is fewer than WEIR_RETENTION_RAW_EVENTS_DAYS")
    if retention.failed_executions_days < retention.executions_days:
        faults.append("WEIR_RETENTION_FAILED_EXECUTIONS_DAYS is fewer than WEIR_RETENTION_EXECUTIONS_DAYS")
    return faults


def _export_faults(exports: ExportSettings) -> list[str]:
    is_wrong = exports.max_bytes_each > exports.max_bytes
    return ["WEIR_EXPORT_MAX_BYTES_EACH is more than WEIR_EXPORT_MAX_BYTES"] * is_wrong
