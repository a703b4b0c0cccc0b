"""What is told of a transaction once it is committed: its events, made ready while Postgres works on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from dsl.instrumentation import events_of
from dsl.step import StepRow
from telemetry.events import Event, Scope
from telemetry.logs import describe_exception
from telemetry.recorder import Prepared, Recorder
from workers.ledger_rows import Batch

log = structlog.get_logger(__name__)


class Telling:
    """The events of ledger rows, and of how their attempt ended.

    Attributes:
        batch: The rows.
        ending: Makes that of the attempt's end, if it has one.
    """

    def __init__(self, recorder: Recorder, scope: Scope, batch: Batch) -> None:
        self._recorder = recorder
        self._scope = scope
        self._prepared: Prepared | None = None
        self.batch = batch
        self.ending: Callable[[], Event] | None = None

    def make_ready(self) -> None:
        """Do all of it but the telling. Never raises: what could not be made ready is made when it is told."""
        try:
            self._prepared = self._prepare()
        except Exception:  # noqa: BLE001 - nobody's statement must fail for it
            self._prepared = None

    def tell(self) -> None:
        """Record the events: the transaction is committed. Never raises."""
        self._recorder.record_prepared(self._prepared or self._prepare())

    def _prepare(self) -> Prepared:
        events = [event for row in self.batch.rows for event in self._events_of(row)]
        if self.ending is not None:
            events.append(self.ending())
        return self._recorder.prepare(events)

    def _events_of(self, row: StepRow) -> Sequence[Event]:
        """Those of one row; none if a step of somebody's own says of itself what cannot be told.

        What is committed is not undone by that; the reconciler makes the event of what Postgres keeps.
        """
        try:
            return events_of(self._scope, row)
        except Exception as error:  # noqa: BLE001 - nothing about telemetry may fail its caller
            log.warning("step_event_not_made", step_type=row.step_type, **describe_exception(error))
            return ()
