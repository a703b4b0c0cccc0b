"""Durations on the wire."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import marshmallow as ma
from marshmallow import fields

from telemetry.settings import parse_duration

#: Of what can be meant; whether it may be so long is said where it is used.
_PATTERN = "^[0-9]{1,9}([.][0-9]{1,6})?(us|ms|s|m|h|d)$"


class DurationText(fields.Field[Any]):
    """A duration such as `30s`: a text on the wire, a timedelta inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> timedelta:  # noqa: ANN401 - marshmallow's
        if not isinstance(value, str) or re.fullmatch(_PATTERN, value) is None:
            message = "Expected a number of at most nine digits and a unit (us, ms, s, m, h, d), such as 30s."
            raise ma.ValidationError(message)
        try:
            return parse_duration(value)
        except OverflowError:
            return timedelta.max  # too long, whatever it is for


def duration_field(text: str, **facts: Any) -> DurationText:  # noqa: ANN401 - of a field
    """A duration, with what it is for."""
    return DurationText(metadata={"type": "string", "pattern": _PATTERN, "description": text}, **facts)
