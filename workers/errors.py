"""What can go wrong around an execution, as opposed to inside a step.

ExecutionError
|- ExecutionNotFound
|- ExecutionConflict    it is not in a state that allows this
|- WorkerLost           the process that ran it is gone
`- QueueUnavailable     Redis does not take messages; the sweeper will send the hint again
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


class ExecutionConflict(ExecutionError):
    """The execution is not in a state that allows this."""

    code = "execution.conflict"


class QueueUnavailable(ExecutionError):
    """The queue's Redis did not take a message."""

    code = "queue.unavailable"
    retryable = True
