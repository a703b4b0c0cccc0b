"""What steps share in a worker process."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from dsl.settings import DslSettings
from telemetry.clock import Clock
from telemetry.ids import new_id
from telemetry.privacy import Pseudonyms


class WorkerTools:
    """The `dsl.step.StepTools` of a worker process."""

    def __init__(self, clock: Clock, pseudonyms: Pseudonyms, settings: DslSettings) -> None:
        self._clock = clock
        self._pseudonyms = pseudonyms
        self.query_max_rows = settings.query_max_rows
        self.max_map_items = settings.max_map_items

    def now(self) -> datetime:
        return self._clock.now()

    def new_id(self) -> UUID:
        return new_id(self._clock.unix_us())

    def hash_content(self, value: object) -> bytes:
        return self._pseudonyms.content(value)
