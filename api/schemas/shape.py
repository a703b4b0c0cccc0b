"""What all shapes have in common."""

from __future__ import annotations

import marshmallow as ma


class Shape(ma.Schema):
    """Base of all: unknown fields are refused, and fields keep their order."""

    class Meta:  # noqa: D106 - marshmallow's
        unknown = ma.RAISE
