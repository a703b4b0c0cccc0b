"""What is asked of live figures."""

from __future__ import annotations

from marshmallow import fields

from api.schemas.requests import OneOfNear, QueryShape, WholePattern
from api.schemas.shape import said
from telemetry.live.store import BYS
from telemetry.rollups.metrics import REQUESTS


class LiveQuery(QueryShape):
    """Which requests, and how far back."""

    window = fields.String(
        load_default="5m",
        validate=WholePattern("^[1-9][0-9]{0,2}m$", error="Expected whole minutes, such as 5m or 60m."),
        metadata=said("Whole minutes before the running one, at most WEIR_LIVE_MINUTES."),
    )
    component = fields.String(validate=OneOfNear(list(REQUESTS)), metadata=said("Only these requests."))
    by = fields.String(validate=OneOfNear(list(BYS)), metadata=said("Tell them apart by this, too."))
