"""The REST API, wired by hand."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from threading import Semaphore
from typing import Any

import flask_smorest
import structlog
from flask import Flask, Response, json, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api import access, parsing, problems, tracing
from api.resources import (
    alerts,
    analytics,
    buckets,
    bulk,
    checkup,
    commands,
    completeness,
    context,
    dead_letters,
    documents,
    error_groups,
    execution_actions,
    execution_events,
    exports,
    fragments,
    health,
    live_metrics,
    metrics,
    notifications,
    overview,
    performance,
    quarantine,
    queues,
    schedules,
    telemetry,
    telemetry_stats,
    traces,
)
from api.schemas.answers import ProblemShape
from api.schemas.bulk import ITEM, BulkItemShape
from api.settings import Settings
from api.streaming import Streams
from telemetry.connections import is_connection_loss
from telemetry.errors import StoreUnavailable, WeirError
from telemetry.live.feed import LiveFeed
from telemetry.pipeline import open_tail
from telemetry.query_cache import QueryCache
from workers.admission import Admission
from workers.boot import snapshots_of
from workers.progress import Progress
from workers.resources import Resources, open_resources

log = structlog.get_logger(__name__)

_CLOSE = "weir.close"

#: Each once: several modules add their operations to those of executions and of telemetry.
_BLUEPRINTS = (
    *dict.fromkeys(
        module.blueprint
        for module in (
            commands,
            execution_actions,
            execution_events,
            bulk,
            schedules,
            dead_letters,
            queues,
            fragments,
            notifications,
            telemetry,
            traces,
            telemetry_stats,
            error_groups,
            overview,
            performance,
            buckets,
            quarantine,
            exports,
            completeness,
            checkup,
            metrics,
            analytics,
            live_metrics,
            alerts,
            health,
        )
    ),
    alerts.metrics,
)


def create_app(settings: Settings, resources: Resources | None = None) -> Flask:
    """The application. Call it after the last fork: what it opens does not survive one.

    Args:
        settings: Complete.
        resources: What it works with, closed by whoever opened it; opened here if not given, and closed by `close_app`.

    Raises:
        SettingsInvalid: Something is to be opened, and the settings do not say where it is.
    """
    stack = ExitStack()
    if resources is None:
        resources = stack.enter_context(
            open_resources(settings.servers, settings.workers, "api", statement_timeout=settings.api.statement_timeout)
        )
        atexit.register(stack.close)
    app = _App("weir", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.api.max_body_bytes, PROPAGATE_EXCEPTIONS=False)
    app.url_map.strict_slashes = False
    app.extensions[_CLOSE] = stack
    admission = Admission(
        resources.pool, resources.clock, max_queued=settings.api.max_queued, max_age=settings.api.max_queue_age
    )
    progress = Progress(resources.pool)
    stack.callback(progress.close)
    live = _live_feed(settings, resources)
    stack.callback(live.close)
    waiters, streams = Semaphore(settings.api.threads // 2), Streams(settings.api.streams)
    answers = QueryCache(settings.telemetry.query_cache_bytes, settings.telemetry.query_cache_ttl, resources.clock)
    # The other half of the connections, and of the threads, is for whoever works.
    readers = Semaphore(min(settings.servers.database_pool, settings.api.threads) // 2)
    held = context.Context(settings, resources, waiters, streams, progress, admission, answers, readers, live)
    context.give(app, held)
    tracing.install(app, resources.clock, resources.recorder)
    access.install(app, settings.api.allowed_hosts)
    parsing.install(app)
    _add_operations(app)
    app.register_blueprint(documents.blueprint)
    app.register_error_handler(WeirError, _answer_error)
    app.register_error_handler(Exception, _answer_unforeseen)
    return app


def tell_of_itself(app: Flask) -> None:
    """Begin to write performance snapshots of this process; `close_app` ends it. Call it after the last fork."""
    with app.app_context():
        held, api = context.resources(), context.settings().api
    snapshots = snapshots_of(held, "api", slots=api.threads)
    snapshots.start()
    stack: ExitStack = app.extensions[_CLOSE]
    stack.callback(snapshots.stop)


def _live_feed(settings: Settings, resources: Resources) -> LiveFeed:
    """Opens nothing before somebody looks on."""
    open_stream = partial(open_tail, settings.telemetry, str(settings.servers.redis_url))
    timeout = min(settings.telemetry.query_timeout, settings.api.statement_timeout)
    return LiveFeed(settings.live, open_stream, resources.pool, timeout, resources.clock)


def describe() -> dict[str, Any]:
    """What `/api/openapi.json` says, without anything that would serve it."""
    app = Flask("weir", static_folder=None)
    parsing.install(app)
    document: dict[str, Any] = _add_operations(app).spec.to_dict()
    return document


def _add_operations(app: Flask) -> _Api:
    app.config.update(
        API_TITLE="Weir",
        API_VERSION="1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
    )
    api = _Api(app)
    api.register_converter(parsing.IdConverter, lambda _converter: {"type": "string", "format": "uuid"})
    api.spec.components.schema(ITEM, schema=BulkItemShape)
    for blueprint in _BLUEPRINTS:
        api.register_blueprint(blueprint)
    return api


def close_app(app: Flask) -> None:
    """Hand over the events still in memory and close what `create_app` opened; idempotent."""
    stack: ExitStack = app.extensions[_CLOSE]
    stack.close()


class _App(Flask):
    def make_default_options_response(self) -> Response:
        """What a path takes; without what others of the same form would."""
        answer = super().make_default_options_response()
        if methods := parsing.methods_of(self, request.path):
            answer.headers["Allow"] = ", ".join(sorted(methods))
        return answer


class _Api(flask_smorest.Api):  # type: ignore[misc]  # flask-smorest is not typed
    """flask-smorest with problems for errors, in what it answers and in what it documents."""

    ERROR_SCHEMA = ProblemShape
    # Every status is named where it is given.
    DEFAULT_ERROR_RESPONSE_NAME = None
    DEFAULT_RESPONSE_CONTENT_TYPE: str = "application/json"

    def handle_http_exception(self, error: HTTPException) -> Response:
        status = error.code or 500
        if status < HTTPStatus.BAD_REQUEST:
            return Response(status=status, headers=error.get_headers())
        answer = _answer(problems.of_status(status, error.description or error.name))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return answer

    def _register_responses(self) -> None:
        usual: str = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = problems.MEDIA_TYPE
        try:
            super()._register_responses()
        finally:
            self.DEFAULT_RESPONSE_CONTENT_TYPE = usual


def _answer_error(error: WeirError) -> Response:
    problem = problems.of_error(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", exc_info=error)
    return _answer(problem)


def _answer_unforeseen(error: Exception) -> Response:
    if is_connection_loss(error):
        return _answer_error(StoreUnavailable("Postgres does not answer"))
    if isinstance(error, ParseException):
        return _answer(problems.of_status(HTTPStatus.BAD_REQUEST, "the body is not what its headers say"))
    log.error("request_crashed", exc_info=error)
    return _answer(problems.internal())


def _answer(problem: problems.Problem) -> Response:
    body: dict[str, Any] = problem.body
    return Response(json.dumps(body), problem.status, problem.headers, mimetype=problems.MEDIA_TYPE)
