"""`/api/telemetry/health`, what is stored of it, performance snapshots and chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import psycopg
from flask import Response
from flask.views import MethodView
from psycopg_pool import PoolTimeout

from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources
from api.resources.telemetry import blueprint
from api.schemas.checkup import (
    ChainPage,
    ChainQuery,
    HealthCheckPage,
    HealthCheckQuery,
    HealthQuery,
    SnapshotPage,
    SnapshotQuery,
    TelemetryHealthShape,
)
from telemetry import chains
from telemetry.components import component_name
from telemetry.filters.kinds import EARLIEST
from telemetry.settings import parse_duration
from workers.checkup import history
from workers.checkup.finding import Surroundings
from workers.checkup.look import about, look_at_all
from workers.checkup.report import report
from workers.executions import reaching_store
from workers.readiness import PATIENCE

#: Names of columns whose microseconds are shown as milliseconds.
_MICROSECONDS = "_us"


@blueprint.route("/health")
class TelemetryHealth(MethodView):
    """How everything is."""

    @blueprint.arguments(HealthQuery, location="query")
    @blueprint.response(200, TelemetryHealthShape)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Look at everything now, and say how it is, and of each problem with which command to go on.

        Answers although Postgres or Redis is away: that is one of the findings.
        """
        component = query["component"] and component_name(query["component"])
        with _connection() as connection:
            held = resources()
            found = look_at_all(Surroundings(connection, held.servers, held.workers, held.clock))
        return json_answer(report(found, about(found, component), held.clock.now()))


@blueprint.route("/health-checks")
class HealthChecks(MethodView):
    """What check-ups found."""

    @blueprint.arguments(HealthCheckQuery, location="query")
    @blueprint.response(200, HealthCheckPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List what the check-ups of every five minutes found, newest first."""
        limit, before = page_limit(query["limit"]), id_from_cursor("health_check", query["cursor"])
        component = query["component"] and component_name(query["component"])
        with reaching_store(), resources().pool.connection() as connection:
            rows = history.checks(
                connection,
                limit=limit + 1,
                component=component,
                status=query["status"],
                since=_since(query),
                before=before,
            )
        return json_answer(page(rows, limit, asdict, lambda row: make_cursor("health_check", row.id)))


@blueprint.route("/performance/snapshots")
class Snapshots(MethodView):
    """Performance, window by window."""

    @blueprint.arguments(SnapshotQuery, location="query")
    @blueprint.response(200, SnapshotPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List how processes, lanes, commands and step types did in each window, newest first."""
        limit, before = page_limit(query["limit"]), id_from_cursor("snapshot", query["cursor"])
        with reaching_store(), resources().pool.connection() as connection:
            rows = history.snapshots(
                connection,
                limit=limit + 1,
                subject=query["subject"],
                name=query["name"],
                since=_since(query),
                before=before,
            )
        return json_answer(page(rows, limit, snapshot_json, lambda row: make_cursor("snapshot", row.id)))


@blueprint.route("/chains")
class Chains(MethodView):
    """What became of traces."""

    @blueprint.arguments(ChainQuery, location="query")
    @blueprint.response(200, ChainPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List traces with what became of each, newest first. One is there within a minute of its first event."""
        limit, before = page_limit(query["limit"]), id_from_cursor("chain", query["cursor"])
        with reaching_store(), resources().pool.connection() as connection:
            rows = chains.page(
                connection,
                limit=limit + 1,
                status=query["status"],
                correlation_id=query["correlation_id"],
                since=_since(query),
                before=before,
            )
        return json_answer(page(rows, limit, chain_json, lambda row: make_cursor("chain", row.first_event_id)))


def snapshot_json(row: history.Snapshot) -> dict[str, Any]:
    """As lists show it: durations in milliseconds, and `class` by its name."""
    shown = dict(_milliseconds(_columns(row)))
    shown["class"] = shown.pop("rated")
    return shown


def chain_json(row: chains.Chain) -> dict[str, Any]:
    """As lists show it."""
    shown = dict(_milliseconds(_columns(row)))
    del shown["first_event_id"], shown["last_event_id"]
    return {**shown, "user_id": None if row.user_id is None else row.user_id.hex()}


def _columns(row: history.Snapshot | chains.Chain) -> dict[str, Any]:
    """As they are: `asdict` copies every value, which takes five times as long as reading the rows."""
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _milliseconds(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name.endswith(_MICROSECONDS):
            yield f"{name.removesuffix(_MICROSECONDS)}_ms", None if value is None else value / 1000
        else:
            yield name, value


def _since(query: Mapping[str, Any]) -> datetime | None:
    if query["time_range"] is None:
        return None
    try:
        return max(EARLIEST, resources().clock.now() - parse_duration(query["time_range"]))
    except OverflowError:
        return EARLIEST


@contextmanager
def _connection() -> Iterator[psycopg.Connection[Any] | None]:
    """One, or none if Postgres gives none soon."""
    try:
        connection = resources().pool.getconn(timeout=PATIENCE.total_seconds())
    except (PoolTimeout, psycopg.OperationalError):
        yield None
        return
    try:
        yield connection
    finally:
        resources().pool.putconn(connection)
