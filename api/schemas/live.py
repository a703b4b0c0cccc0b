"""What is asked of live figures, and what they look like."""

from __future__ import annotations

from datetime import timedelta

from marshmallow import fields, validate

from api.schemas.durations import duration_field
from api.schemas.requests import QueryShape
from api.schemas.shape import said
from telemetry.live.store import BYS
from telemetry.rollups.metrics import REQUESTS


class LiveQuery(QueryShape):
    """Which requests, and how far back."""

    window = duration_field(
        "Whole minutes before the running one: `5m`; at most WEIR_LIVE_MINUTES.", load_default=timedelta(minutes=5)
    )
    component = fields.String(validate=validate.OneOf(list(REQUESTS)), metadata=said("Only these requests."))
    by = fields.String(validate=validate.OneOf(list(BYS)), metadata=said("Tell them apart by this, too."))
