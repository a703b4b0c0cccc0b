"""Limits of the language: how large, how deep, how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from dsl.command import DEFAULT_LANE
from dsl.declarations import Table
from telemetry.settings import TelemetrySettings, setting


@dataclass(frozen=True)
class ChannelSettings:
    """Where the channels `webhook` and `email` lead; without an address they fail, and say so."""

    section: ClassVar[str] = "channel"

    webhook_url: str | None = setting(
        None, "Address that the channel `webhook` posts to, with its secrets if it has any.", secret=True
    )
    webhook_secret: str | None = setting(
        None,
        "Secret that posts are signed with, by HMAC-SHA-256 as Standard Webhooks has it: `whsec_` and base64, or any"
        " text.",
        secret=True,
    )
    webhook_timeout: timedelta = setting(
        timedelta(seconds=5),
        "How long one post may take.",
        minimum=timedelta(milliseconds=100),
        maximum=timedelta(minutes=1),
    )
    webhook_private: bool = setting(
        False, "Whether posts may go to loopback, private and other addresses that are not public."
    )
    smtp_host: str | None = setting(None, "Server that the channel `email` hands messages to.")
    smtp_port: int = setting(587, "Its port.", minimum=1, maximum=65_535)
    smtp_starttls: bool = setting(True, "Whether the connection must be encrypted before anything is said.")
    smtp_user: str | None = setting(None, "Name to log in with; without one nobody logs in.")
    smtp_password: str | None = setting(None, "Its password.", secret=True)
    smtp_timeout: timedelta = setting(
        timedelta(seconds=10),
        "How long the server may take for an answer.",
        minimum=timedelta(milliseconds=100),
        maximum=timedelta(minutes=1),
    )
    email_from: str = setting("weir@localhost", "Sender of messages.")
    email_to: tuple[str, ...] = setting((), "Who gets them.")


@dataclass(frozen=True)
class DslSettings:
    """What a command file may ask for, and what a running command may use."""

    section: ClassVar[str] = "dsl"

    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    channels: ChannelSettings = field(default_factory=ChannelSettings)
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
