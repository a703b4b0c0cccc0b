"""Limits of the language: how large, how deep, how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from dsl.command import DEFAULT_LANE
from dsl.declarations import Table
from telemetry.settings import TelemetrySettings, setting


@dataclass(frozen=True)
class DslSettings:
    """What a command file may ask for, and what a running command may use."""

    section: ClassVar[str] = "dsl"

    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    #: Declared under `[tables.NAME]`.
    tables: tuple[Table, ...] = ()

    lanes: tuple[str, ...] = setting(
        (DEFAULT_LANE,), "Lanes that commands may name; `weir up` starts a worker process for each."
    )
    max_file_bytes: int = setting(1_048_576, "Bytes of a command file, at most.", minimum=1024)
    max_depth: int = setting(32, "Nesting of a command file, at most.", minimum=4, maximum=200)
    max_nodes: int = setting(20_000, "Values in a command file, at most.", minimum=100)
    max_template_bytes: int = setting(65_536, "Characters of one template, at most.", minimum=256)
    max_render_bytes: int = setting(
        1_048_576, "Characters one template may produce, with 12 bytes of memory for each.", minimum=1024
    )
    max_loop_iterations: int = setting(10_000, "Turns of all loops of one template.", minimum=1)
    max_template_work: timedelta = setting(
        timedelta(milliseconds=50),
        "Work of one template: time on the machine where the costs of its parts were measured. Counted, not timed.",
        minimum=timedelta(milliseconds=1),
    )
    max_map_items: int = setting(10_000, "Items of one list.map step.", minimum=1)
    max_output_bytes: int = setting(1_048_576, "JSON bytes of one step's output.", minimum=1024)
    max_execution_output_bytes: int = setting(8_388_608, "JSON bytes of all outputs of an execution.", minimum=1024)
    query_max_rows: int = setting(1000, "Rows a query step may return.", minimum=1, maximum=100_000)
    statement_timeout: timedelta = setting(
        timedelta(seconds=30), "How long one SQL statement may run.", minimum=timedelta(milliseconds=100)
    )
    dry_run_lock_timeout: timedelta = setting(
        timedelta(seconds=1),
        "How long a dry run waits for a row that another transaction holds.",
        minimum=timedelta(milliseconds=1),
    )
