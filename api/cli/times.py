"""Times and durations that are typed: what is none is a fault of the command line, and names its option."""

from __future__ import annotations

from datetime import datetime, timedelta

import click


def instant(text: str, option: str) -> str:
    """A time as ISO 8601 with its offset; without one it is this machine's time, as `astimezone` has it.

    Raises:
        BadParameter: It is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is not a time such as 2026-03-01T09:00 or 2026-03-01T09:00:00+01:00"
        raise click.BadParameter(message, param_hint=option) from error


def span(text: str, option: str) -> timedelta:
    """A duration such as `15m`.

    Raises:
        BadParameter: It is none.
    """
    from telemetry.settings import parse_duration

    try:
        return parse_duration(text)
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is longer than time is told", param_hint=option) from error
    except ValueError as error:
        message = f"{text!r} is not a number and a unit (us, ms, s, m, h, d), such as 15m"
        raise click.BadParameter(message, param_hint=option) from error
