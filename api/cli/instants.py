"""Times as options take them: now, how long ago, a time of this machine's clock, or one with an offset."""

from __future__ import annotations

from datetime import datetime

import click


def instant_of(text: str, option: str) -> str:
    """A time, or how long ago: `now`, `2h`, `2026-03-01T09:00` here, or with an offset; in ISO 8601 with an offset.

    Raises:
        click.BadParameter: It is neither; names the option.
    """
    from telemetry.clock import SystemClock
    from telemetry.settings import parse_duration

    try:
        return (SystemClock().now() - parse_duration("0s" if text == "now" else text)).isoformat()
    except (ValueError, OverflowError):
        pass  # then it is a time
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is neither how long ago (2h) nor a time such as 2026-03-01T09:00"
        raise click.BadParameter(message, param_hint=option) from error
