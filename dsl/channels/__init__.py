"""Channels: one way to tell someone something in one file each, and the registry of all of them.

To add one: write its file, add its lines here, and its name to the parameters of `notify`, to
`telemetry.events.MEASURES` and to `telemetry.alerts.rule.ChannelName`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dsl.channels.channel import Channel
from dsl.channels.email import Email
from dsl.channels.inbox import Inbox
from dsl.channels.log import Log
from dsl.channels.webhook import Webhook
from dsl.settings import ChannelSettings
from dsl.step import Effect
from telemetry.clock import Clock

#: What each channel does to the world, by its name.
EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {"inbox": Inbox.effect, "log": Log.effect, "webhook": Webhook.effect, "email": Email.effect}
)
#: Settings without which a channel leads nowhere, by its name.
REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"webhook": ("webhook_url",), "email": ("smtp_host", "email_to")}
)


def make_channels(settings: ChannelSettings, clock: Clock) -> Mapping[str, Channel]:
    """Every channel by its name."""
    return {"inbox": Inbox(), "log": Log(), "webhook": Webhook(settings, clock), "email": Email(settings)}
