"""Durations on the wire."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import fields

from telemetry.settings import parse_duration


class DurationText(fields.Field[Any]):
    """A duration such as `30s`: a text on the wire, a timedelta inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's
        try:
            return parse_duration(value)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            message = "Expected a number and a unit (us, ms, s, m, h, d), such as 30s."
            raise ma.ValidationError(message) from error


def duration_field(text: str, **facts: Any) -> DurationText:  # noqa: ANN401 - of a field
    """A duration, with what it is for."""
    return DurationText(metadata={"type": "string", "description": text}, **facts)
