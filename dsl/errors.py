"""What can be wrong with a command, and with a step that runs.

LanguageError
|- CommandInvalid(faults)   a file, every fault of it
|- InputsInvalid(faults)    a submission's inputs, every fault of them
|- SecretsMissing           a command needs secrets that are not there
|- UnknownCommand           did you mean ...?
|- ConcurrencyKeyInvalid    what executions are counted by makes no sense for these inputs
`- ExpressionError          a template or condition that cannot be evaluated
   `- ExpressionLimit       it asks for more than a template may take
StepError
|- StepFailed               the step says so itself: rules broken, nothing found
|  |- RecordInvalid         a fragment, note or notification that cannot be stored
|  `- FragmentNotFound
|- ChildFailed              a command that it waited for did not succeed
|- FailedBefore             an item that an earlier attempt gave up
|- StepInterrupted          its execution had to stop
`- StepTimedOut
LedgerError                 the run stops where it is; no error of the step that met it
|- Suspended                it goes on later
|- Stopped                  cancelled, or out of time
|- OuterTimedOut            a step around it is out of time, and fails of it
|- FenceLost                somebody else's by now
|- LedgerBroken
`- LedgerUnavailable
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from telemetry.errors import WeirError

if TYPE_CHECKING:
    from dsl.command import Retry
    from telemetry.events import Category, FieldFault


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where.

    Attributes:
        code: Stable name of the kind of fault (`command.unknown_step_type`).
        message: One sentence for a person.
        path: Where in the document, as `steps[0].with.title`; empty for the whole.
        line: From 1; none where there is no text (inputs of a submission).
        column: From 1.
        found: What was there, shortened.
        expected: What should be.
        nearest: The nearest valid name.
    """

    code: str
    message: str
    path: str = ""
    line: int | None = None
    column: int | None = None
    found: str | None = None
    expected: str | None = None
    nearest: str | None = None


class LanguageError(WeirError):
    """Something written in the language is wrong."""

    code = "language"


class CommandInvalid(LanguageError):
    """A command file has faults; all of them, in the order of the text.

    Attributes:
        source: The file's path, as the person knows it.
    """

    code = "command.invalid"

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        super().__init__(f"{source}: {len(faults)} fault(s)", source=source)
        self.source = source
        self.faults = faults


class InputsInvalid(LanguageError):
    """The inputs of a submission are not what the command declares; all faults.

    Attributes:
        failed_fields: What telemetry may know of them.
    """

    code = "inputs.invalid"

    def __init__(self, slug: str, faults: tuple[Fault, ...], failed_fields: tuple[FieldFault, ...] = ()) -> None:
        super().__init__(f"{len(faults)} input(s) of {slug} are wrong", slug=slug)
        self.faults = faults
        self.failed_fields = failed_fields


class SecretsMissing(LanguageError):
    """The command requires secrets that this installation does not have."""

    code = "secrets.missing"


class UnknownCommand(LanguageError):
    """No loaded command file has this slug."""

    code = "command.unknown"


class ExpressionError(LanguageError):
    """A template or condition could not be evaluated."""

    code = "expression.failed"
    category: ClassVar[Category] = "validation"


class ExpressionLimit(ExpressionError):
    """A template or condition asked for more than one may take; `facts["setting"]` names what moves the limit."""

    code = "expression.limit"


class ConcurrencyKeyInvalid(LanguageError):
    """The key of a command's `concurrency` has no value that can be one for these inputs."""

    code = "concurrency.key_invalid"


class StepError(WeirError):
    """A step could not do what it was asked.

    Class attributes:
        category: Which of the six error categories telemetry counts it under.
    """

    code = "step.failed"
    category: ClassVar[Category] = "internal"


class StepFailed(StepError):
    """The step itself found that it cannot succeed: its input is the reason.

    Attributes:
        failed_fields: What telemetry may know of values that did not validate: names and rules, never a value.
    """

    category: ClassVar[Category] = "validation"

    def __init__(
        self, detail: str, *, hint: str | None = None, failed_fields: tuple[FieldFault, ...] = (), **facts: object
    ) -> None:
        super().__init__(detail, hint=hint, **facts)
        self.failed_fields = failed_fields


class RecordInvalid(StepFailed):
    """A fragment, an imported note or a notification is not what its table can hold.

    The fact `field` is the name of the field that is wrong, where that is known.
    """

    code = "record.invalid"


class FragmentNotFound(StepFailed):
    """No fragment has this id."""

    code = "fragment.not_found"


class ChildFailed(StepError):
    """A command that the step waited for did not succeed."""

    code = "step.child_failed"


class FailedBefore(StepError):
    """A step failed for good in an earlier attempt, which went on without it; its ledger row says why."""

    def __init__(self, error_category: Category) -> None:
        super().__init__("it failed in an earlier attempt")
        self.category = error_category  # type: ignore[misc] # of this one


class StepTimedOut(StepError):
    """The step took longer than it may."""

    code = "step.timed_out"
    category: ClassVar[Category] = "timeout"
    retryable = True


class StepInterrupted(StepError):
    """The step was interrupted, because its execution had to stop.

    Attributes:
        reason: `cancelled`, or `timed_out`: the command took longer than it may.
    """

    code = "step.interrupted"

    def __init__(self, message: str, reason: Literal["cancelled", "timed_out"]) -> None:
        super().__init__(message)
        self.reason = reason
        self.category = "timeout" if reason == "timed_out" else "internal"  # type: ignore[misc] # of this one


class LedgerError(WeirError):
    """The run must stop where it is: nothing more of it can be kept. Not an error of the step that met it."""

    code = "ledger"


class Suspended(LedgerError):
    """The attempt ends here, and the execution goes on later: what is committed stays, the rest is done again.

    Attributes:
        reason: `step_failed`: a step is to be tried again; `worker_stopped`: another worker takes over; `waiting`: a
            step waits for another execution.
        path: Of that step.
        error: What it raised.
        retry: How long to wait.
        tries: How often it was tried.
        rationed: Whether its command was retried so often lately that this try is put off further.
    """

    code = "ledger.suspended"

    def __init__(  # noqa: PLR0913 - one fact each
        self,
        reason: Literal["step_failed", "worker_stopped", "waiting"],
        path: str | None = None,
        error: Exception | None = None,
        retry: Retry | None = None,
        tries: int = 0,
        *,
        rationed: bool = False,
    ) -> None:
        super().__init__(f"suspended: {reason}")
        self.reason = reason
        self.path = path
        self.error = error
        self.retry = retry
        self.tries = tries
        self.rationed = rationed


class Stopped(LedgerError):
    """The execution ends here, because it was cancelled or took too long.

    Attributes:
        reason: Which of the two.
        how: Whether it was asked between two steps, or interrupted inside one.
        path: The step that was interrupted.
    """

    code = "ledger.stopped"

    def __init__(
        self,
        reason: Literal["cancelled", "timed_out"],
        how: Literal["cooperatively", "interrupted"],
        path: str | None = None,
    ) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason
        self.how = how
        self.path = path


class OuterTimedOut(LedgerError):
    """A step was interrupted, or not begun, because a step around it took longer than its `timeout`.

    That one fails of it. The step inside did not: it has no row, and runs again if the outer one is tried again.

    Attributes:
        path: The outer step.
        inside: The step that was interrupted, or would have been next.
    """

    def __init__(self, path: str, inside: str) -> None:
        super().__init__(f"{path} took longer than its timeout, at {inside}")
        self.path = path
        self.inside = inside


class FenceLost(LedgerError):
    """Another claim owns the execution, or it is final; this run's transaction was not made."""

    code = "ledger.fence_lost"


class LedgerBroken(LedgerError):
    """Postgres refuses a row of the ledger: a fault of ours, or of the database; never of the step that ran."""

    code = "ledger.broken"


class LedgerUnavailable(LedgerError):
    """The connection to Postgres was lost in the middle of a run."""

    code = "ledger.unavailable"
    retryable = True
