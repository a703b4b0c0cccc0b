"""What can go wrong around an execution, as opposed to inside a step.

ExecutionError
|- ExecutionNotFound
|- ExecutionConflict    it is not in a state that allows this
|- DeadLetterHandled    it was requeued or dropped already
|- IdempotencyConflict  the key was used for another request
|- ConcurrencyFull      no more executions of its key are accepted at the moment
|- ExecutionExpired     it was not begun in time
|- StepNotFound         the command has no such step
|- CommandTimedOut      it ran longer than it may
|- WorkerLost           the process that ran it is gone
`- QueueUnavailable     Redis does not take messages; the sweeper will send the hint again
QueueFull               a lane takes no more submissions at the moment
LaneNotFound            nothing is known under this name
ScheduleError
|- ScheduleNotFound
|- ScheduleDeclared     its words are those of a command file
|- ScheduleNameTaken
`- BackfillTooLarge
"""

from __future__ import annotations

from telemetry.errors import WeirError


class ExecutionError(WeirError):
    """Something about an execution as a whole."""

    code = "execution"


class ExecutionNotFound(ExecutionError):
    """There is no execution with this id."""

    code = "execution.not_found"


class WorkerLost(ExecutionError):
    """The worker process that ran it was killed, or was cut off for longer than its lease."""

    code = "execution.worker_lost"


class StepNotFound(ExecutionError):
    """The command has no step with this id."""

    code = "execution.step_not_found"


class CommandTimedOut(ExecutionError):
    """The command ran longer than it may, all its attempts together."""

    code = "execution.timed_out"
    category = "timeout"


class ExecutionExpired(ExecutionError):
    """The execution was not begun by the time it was wanted."""

    code = "execution.expired"
    category = "timeout"


class IdempotencyConflict(ExecutionError):
    """An idempotency key was used for another request."""

    code = "execution.key_reused"


class ConcurrencyFull(ExecutionError):
    """As many executions with its concurrency key as may run have not ended, and its command wants none to wait."""

    code = "concurrency.full"
    retryable = True


class ExecutionConflict(ExecutionError):
    """The execution is not in a state that allows this."""

    code = "execution.conflict"


class DeadLetterHandled(ExecutionError):
    """Somebody has requeued or dropped the dead letter already."""

    code = "execution.dead_letter_handled"


class QueueUnavailable(ExecutionError):
    """The queue's Redis did not take a message."""

    code = "queue.unavailable"
    retryable = True


class QueueFull(WeirError):
    """A lane takes no more submissions at the moment: too many wait there, or one of them for too long."""

    code = "queue.full"
    retryable = True


class LaneNotFound(WeirError):
    """There is no lane with this name: none is declared, and nothing waits, runs or works in one."""

    code = "queue.not_found"


class ScheduleError(WeirError):
    """Something about a schedule."""

    code = "schedule"


class ScheduleNotFound(ScheduleError):
    """There is no schedule with this name or id."""

    code = "schedule.not_found"


class ScheduleDeclared(ScheduleError):
    """A command file declares the schedule; only there can it be changed."""

    code = "schedule.declared"


class ScheduleNameTaken(ScheduleError):
    """Another schedule has this name."""

    code = "schedule.name_taken"


class BackfillTooLarge(ScheduleError):
    """More due times than one request may ask for again."""

    code = "schedule.backfill_too_large"
