"""What all shapes have in common."""

from __future__ import annotations

from typing import Any

import marshmallow as ma


def said(text: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - of JSON Schema
    """The `metadata` of a field: its description, and what else JSON Schema may say of it."""
    return {"description": text, **facts}


class Shape(ma.Schema):
    """Base of all: unknown fields are refused, and fields keep their order."""

    class Meta:  # noqa: D106 - marshmallow's
        unknown = ma.RAISE
