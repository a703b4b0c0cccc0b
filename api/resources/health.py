"""`/healthz`: the process answers. `/readyz`: what it needs is there."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import redis
from flask import Response
from flask.views import MethodView
from psycopg_pool import PoolTimeout

from api.parsing import Blueprint
from api.problems import NotReady
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.schemas.answers import HealthShape, ReadyShape
from migrations.runner import require_current
from telemetry.connections import open_redis, waiting
from telemetry.errors import SchemaOutOfDate, StoreUnavailable

blueprint = Blueprint("health", __name__, description="Whether the process is alive, and whether it can work.")

#: How long each thing that is looked at may take.
PATIENCE = timedelta(seconds=1)


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
        postgres, schema = _look_at_postgres()
        checks = {"postgres": postgres, "redis": _look_at_redis(), "schema": schema}
        if any(state != "ok" for state in checks.values()):
            raise NotReady(checks)
        return json_answer({"status": "ok", "checks": checks})


def _look_at_postgres() -> tuple[str, str]:
    """Of Postgres and of its schema: `ok`, or what is wrong."""
    try:
        with (
            resources().pool.connection(timeout=PATIENCE.total_seconds()) as connection,
            waiting(connection, PATIENCE),
        ):
            require_current(connection)
    except SchemaOutOfDate as error:
        return "ok", error.detail
    except (PoolTimeout, psycopg.Error, StoreUnavailable):
        return "does not answer", "cannot be seen"
    return "ok", "ok"


def _look_at_redis() -> str:
    try:
        with open_redis(settings().servers.redis_url or "", timeout=PATIENCE, retries=0) as client:
            client.ping()
    except redis.RedisError:
        return "does not answer"
    return "ok"
