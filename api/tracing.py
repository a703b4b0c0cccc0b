"""Around every request: its correlation id in and out, on its log lines, and its event when it is answered."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, cast
from uuid import UUID

import structlog
from flask import Flask, Response, g, request

from telemetry.clock import Clock
from telemetry.correlation import bind, read_correlation_id
from telemetry.events import HttpRequestCompleted, Scope
from telemetry.ids import mint, new_id
from telemetry.recorder import Recorder

log = structlog.get_logger(__name__)

CORRELATION_HEADER = "X-Correlation-ID"

#: Says which client it is; only `cli` means something.
SOURCE_HEADER = "X-Weir-Source"

#: Blueprints whose requests leave no event: looking at telemetry or health must not make more of it.
UNRECORDED = frozenset(
    {"telemetry", "exports", "health", "documents", "api-docs", "metrics", "alert_metrics", "analytics", "live"}
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FAILED_FROM = 400

_Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]


@dataclass(slots=True)
class RequestTrace:
    """What is known of the request being served; operations add what they learn.

    Attributes:
        correlation_id: Given by the caller, or new.
        source: The door: `cli` if our own client says so.
        started_us: Monotonic.
        log_context: Binds the correlation id to log lines until the request is done.
        user_id: Keyed hash, once the user is known.
        space_id: 16 bytes, once the space is known.
        command_slug: Once a loaded command is named.
        definition_hash: Likewise.
        dry_run: What the submission asked for.
    """

    correlation_id: UUID
    source: Literal["api", "cli"]
    started_us: int
    log_context: AbstractContextManager[None]
    user_id: bytes | None = field(default=None)
    space_id: bytes | None = None
    command_slug: str | None = None
    definition_hash: bytes | None = None
    dry_run: bool = False

    def scope(self) -> Scope:
        """What all events of this request share."""
        return Scope(
            correlation_id=self.correlation_id.bytes,
            request_source=self.source,
            user_id=self.user_id,
            space_id=self.space_id,
            command_slug=self.command_slug,
            definition_hash=self.definition_hash,
            dry_run=self.dry_run,
        )


def current_trace() -> RequestTrace:
    """The trace of the request being served."""
    return cast("RequestTrace", g.weir_trace)


def install(app: Flask, clock: Clock, recorder: Recorder) -> None:
    """Have every request of the app traced."""

    def begin() -> None:
        given = read_correlation_id(request.headers.get(CORRELATION_HEADER), request.headers.get("traceparent"))
        correlation_id = given or new_id(clock.unix_us())
        source: Literal["api", "cli"] = "cli" if request.headers.get(SOURCE_HEADER) == "cli" else "api"
        context = bind(correlation_id=correlation_id)
        context.__enter__()
        g.weir_trace = RequestTrace(correlation_id, source, clock.monotonic_us(), context)

    def answer(response: Response) -> Response:
        trace = current_trace()
        response.headers[CORRELATION_HEADER] = str(trace.correlation_id)
        try:
            _record(trace, response.status_code, clock, recorder)
        except Exception:
            # Telemetry never costs anybody an answer.
            log.exception("request_not_recorded")
        return response

    def end(_error: BaseException | None) -> None:
        trace = g.pop("weir_trace", None)
        if trace is not None:
            trace.log_context.__exit__(None, None, None)

    app.before_request(begin)
    app.after_request(answer)
    app.teardown_request(end)


def _record(trace: RequestTrace, status: int, clock: Clock, recorder: Recorder) -> None:
    if not recorder.enabled or request.blueprint in UNRECORDED:
        return
    now_us = clock.unix_us()
    method = cast("_Method", request.method if request.method in _METHODS else "other")
    recorder.record(
        HttpRequestCompleted(
            mint(now_us),
            now_us,
            trace.scope(),
            route=request.url_rule.rule if request.url_rule is not None else "unmatched",
            method=method,
            status=status,
            duration_us=clock.monotonic_us() - trace.started_us,
            outcome="failed" if status >= _FAILED_FROM else "succeeded",
        )
    )
