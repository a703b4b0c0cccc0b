"""Why a channel could not tell.

StepError
`- ChannelFailed      it may work later
   `- ChannelRefused  it will not: the address, the settings or the message are the reason
"""

from __future__ import annotations

from typing import ClassVar, Final

from dsl.errors import StepError
from telemetry.events import Category

#: Reason of a channel whose settings do not say where it leads.
NOT_CONFIGURED: Final = "not_configured"


class ChannelFailed(StepError):
    """A channel did not take the message; it may later.

    Attributes:
        reason: A word of this program's (`timeout`, `status_503`), never one of what answered.
    """

    code = "channel.failed"
    retryable = True
    category: ClassVar[Category] = "network"

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(f"the channel {channel} did not take the message: {reason}", channel=channel, reason=reason)
        self.reason = reason


class ChannelRefused(ChannelFailed):
    """A channel will not take the message, however often it is tried."""

    code = "channel.refused"
    retryable = False
    category: ClassVar[Category] = "validation"
