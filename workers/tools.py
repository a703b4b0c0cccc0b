"""What steps share in a worker process."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from dsl.channels import make_channels
from dsl.library import Library
from dsl.settings import DslSettings
from dsl.step import Submitter
from dsl.tables import Tables
from telemetry.clock import Clock
from telemetry.ids import new_id
from telemetry.privacy import Pseudonyms
from workers.children import ChildSubmitter


class WorkerTools:
    """The `dsl.step.StepTools` of a worker process.

    Args:
        clock: The machine's.
        pseudonyms: Hashes contents.
        settings: Limits, and the declared tables.
        library: Commands that steps may run.
    """

    def __init__(self, clock: Clock, pseudonyms: Pseudonyms, settings: DslSettings, library: Library) -> None:
        self._clock = clock
        self._pseudonyms = pseudonyms
        self.query_max_rows = settings.query_max_rows
        self.max_map_items = settings.max_map_items
        self.tables = Tables(settings.tables)
        self.channels = make_channels(settings.channels, clock)
        self.submitter: Submitter = ChildSubmitter(library, self.new_id)

    def now(self) -> datetime:
        return self._clock.now()

    def new_id(self) -> UUID:
        return new_id(self._clock.unix_us())

    def hash_content(self, value: object) -> bytes:
        return self._pseudonyms.content(value)
