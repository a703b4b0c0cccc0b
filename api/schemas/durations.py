"""Durations on the wire."""

from __future__ import annotations

import re
from typing import Any

import marshmallow as ma
from marshmallow import fields

from telemetry.settings import parse_duration

#: What is one, for the description.
_PATTERN = "^[0-9]{1,9}([.][0-9]{1,6})?(us|ms|s|m|h|d)$"


class DurationText(fields.Field[Any]):
    """A duration such as `30s`: a text on the wire, a timedelta inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's
        try:
            if isinstance(value, str) and re.fullmatch(_PATTERN, value):
                return parse_duration(value)
        except OverflowError:
            pass  # more days than there are
        raise ma.ValidationError("Expected a number and a unit (us, ms, s, m, h, d), such as 30s.")


def duration_field(text: str, **facts: Any) -> DurationText:  # noqa: ANN401 - of a field
    """A duration, with what it is for."""
    return DurationText(metadata={"type": "string", "pattern": _PATTERN, "description": text}, **facts)
