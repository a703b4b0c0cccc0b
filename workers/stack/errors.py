"""What can go wrong with the stack as a whole.

StackError
|- StackRunning    another supervisor has this home
|- StackStopped    no supervisor has this home
|- StartFailed     something did not come up; its last lines say why
|- StopTimedOut    the supervisor is still there after it was told to stop
`- AddressInUse    another process listens where the API should
"""

from __future__ import annotations

from telemetry.errors import WeirError


class StackError(WeirError):
    """Something about the processes of `weir up`."""

    code = "stack"


class StackRunning(StackError):
    """Another supervisor has this home; two would corrupt its servers' data."""

    code = "stack.running"


class StackStopped(StackError):
    """No supervisor has this home, and what was asked needs one."""

    code = "stack.stopped"


class StartFailed(StackError):
    """A server, the migrations or a service did not come up."""

    code = "stack.start_failed"


class StopTimedOut(StackError):
    """The supervisor was told to stop and is still there."""

    code = "stack.stop_timed_out"


class AddressInUse(StackError):
    """Another process listens on the address that the API should have."""

    code = "stack.address_in_use"
