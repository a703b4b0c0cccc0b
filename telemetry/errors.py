"""The one root of all errors, and telemetry's own.

WeirError
|- SettingsInvalid        every faulty setting at once
|- RedisRefused           what answers as Redis will not, or cannot, do its work
`- TelemetryError
   |- StreamUnavailable   Redis did not take or give the telemetry stream
   |- StoreUnavailable    Postgres did not answer
   |  `- StoreTooSlow     it was at it for longer than a statement may take
   |- SchemaOutOfDate     the database is older or newer than this program
   |- TraceNotFound
   |- FilterInvalid        a text that is not a filter
   |- MetricsCrossed       figures are asked for that are not kept together
   |- QuarantinedNotFound
   |- QuarantineChanged    something came in or went since it was counted
   |- CleanupRunning       another process deletes what is old
   |- ArchiveFailed        what is to be deleted could not be written to a file before
   `- ExportError
      |- ExportTooLarge    a file reached the size it may have
      |- ExportUnwritable  it could not be written
      |- ExportExists      a file of that name is there, or a part of one
      |- ExportInUse       another process writes it
      |- ExportOther       what is to be resumed is another export, or none
      |- ExportChanged     events were deleted while it was written
      |- ExportNotFound
      |- ExportNotReady    it has no files (yet)
      `- ExportsFull       no more are taken at the moment
"""

from __future__ import annotations

from typing import ClassVar


class WeirError(Exception):
    """The root of every error Weir raises on purpose.

    Attributes:
        code: A stable name (`execution.not_found`); `docs/reference/errors.md` has them all.
        retryable: Whether the same call may succeed later, unchanged.
        detail: One sentence: what is wrong. May quote the caller's own input, so it is never telemetry.
        hint: What to do next, if that is known.
        facts: The particulars, by name, as JSON-able values.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.facts = facts


class SettingsInvalid(WeirError):
    """One or more settings are wrong; `faults` names every one of them."""

    code = "settings.invalid"

    def __init__(self, faults: list[str]) -> None:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        super().__init__(
            f"{len(faults)} setting(s) are wrong:\n{lines}",
            hint="See docs/reference/settings.md for every setting, its unit and its default.",
            faults=faults,
        )
        self.faults = faults


class RedisRefused(WeirError):
    """What answers at the address of Redis refuses us, is no Redis, or is too old. Waiting would not help."""

    code = "redis.refused"


class TelemetryError(WeirError):
    """Something about keeping or reading events."""

    code = "telemetry"


class StreamUnavailable(TelemetryError):
    """Redis did not take or give entries of the telemetry stream."""

    code = "telemetry.stream_unavailable"
    retryable = True


class StoreUnavailable(TelemetryError):
    """Postgres did not answer in time, or refused the connection."""

    code = "store.unavailable"
    retryable = True


class StoreTooSlow(StoreUnavailable):
    """Postgres ended a statement that took too long; most often it waited for a row that somebody else holds."""

    code = "store.too_slow"


class SchemaOutOfDate(TelemetryError):
    """The database's schema is older or newer than this program needs."""

    code = "store.schema_out_of_date"


class TraceNotFound(TelemetryError):
    """No stored event carries this correlation or execution id (yet)."""

    code = "telemetry.trace_not_found"


class FilterInvalid(TelemetryError):
    """A text is not a filter of events.

    Attributes:
        offset: Where, in characters from the beginning of the text; `line` and `column` count from 1.
        expected: What should be there.
        nearest: What may be meant, if anything is near.
    """

    code = "filter.invalid"

    def __init__(self, said: str, *, text: str, offset: int, expected: str, nearest: str | None = None) -> None:
        line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
        super().__init__(said, offset=offset, line=line, column=column)
        self.offset, self.line, self.column = offset, line, column
        self.expected = expected
        self.nearest = nearest


class QuarantinedNotFound(TelemetryError):
    """Nothing in quarantine has this id (any more)."""

    code = "telemetry.quarantined_not_found"


class QuarantineChanged(TelemetryError):
    """There are more or fewer in quarantine than somebody was told."""

    code = "telemetry.quarantine_changed"


class ArchiveFailed(TelemetryError):
    """A file of what is to be deleted could not be written."""

    code = "telemetry.archive_failed"


class CleanupRunning(TelemetryError):
    """Another process is at it, and two would be in each other's way."""

    code = "telemetry.cleanup_running"
    retryable = True


class MetricsCrossed(TelemetryError):
    """Figures of a user, a space and an operation are kept apart, and were asked for together."""

    code = "metrics.crossed"


class ExportError(TelemetryError):
    """Something about writing events to files."""

    code = "export"


class ExportTooLarge(ExportError):
    """A file reached the size it may have; what was written so far can be resumed."""

    code = "export.too_large"


class ExportUnwritable(ExportError):
    """A file of an export could not be written: no room, no permission."""

    code = "export.unwritable"


class ExportExists(ExportError):
    """Something has the name that is to be written."""

    code = "export.exists"


class ExportInUse(ExportError):
    """Another process is writing this export."""

    code = "export.in_use"
    retryable = True


class ExportOther(ExportError):
    """There is nothing to resume, or something else was begun there."""

    code = "export.other"


class ExportChanged(ExportError):
    """Events that belong to it were deleted before they were written."""

    code = "export.changed"


class ExportNotFound(ExportError):
    """There is no export with this id, or no file of this name in it."""

    code = "export.not_found"


class ExportNotReady(ExportError):
    """An export has no files, or not yet."""

    code = "export.not_ready"


class ExportsFull(ExportError):
    """As many exports are kept, or as many bytes, as may be."""

    code = "export.too_many"
    retryable = True
