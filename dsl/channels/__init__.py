"""Channels: one way to tell someone something in one file each, and the registry of all of them.

To add one: write its file, add its line here, and its name to the parameters of `notify` and to
`telemetry.events.MEASURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dsl.channels.channel import Channel
from dsl.channels.inbox import Inbox
from dsl.channels.log import Log

#: Every channel by its name.
CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "inbox": Inbox(),
        "log": Log(),
    }
)
