"""`/healthz`: the process answers. `/readyz`: what it needs is there."""

from __future__ import annotations

from functools import partial

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import NotReady
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.schemas.answers import HealthShape, ReadyShape
from workers.health import is_well
from workers.readiness import PATIENCE, look_at_postgres, look_at_recorder, look_at_redis

blueprint = Blueprint("health", __name__, description="Whether the process is alive, and whether it can work.")


@blueprint.route("/healthz")
class Health(MethodView):
    """The process."""

    @blueprint.response(200, HealthShape)
    def get(self) -> Response:
        """Say that the process answers."""
        return json_answer({"status": "ok"})


@blueprint.route("/readyz")
class Readiness(MethodView):
    """What the process needs."""

    @blueprint.response(200, ReadyShape)
    @blueprint.refuses(503)
    def get(self) -> Response:
        """Say whether Postgres, Redis and the schema are as they must be."""
        connection = partial(resources().pool.connection, timeout=PATIENCE.total_seconds())
        servers = look_at_postgres(connection) | look_at_redis(settings().servers.redis_url or "")
        checks = servers | look_at_recorder(resources().recorder)
        if not is_well(checks):
            raise NotReady(checks)
        return json_answer({"status": "ok", "checks": checks})
