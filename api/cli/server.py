"""The API under gunicorn, started by a call: one arbiter, threads in each worker, no files of its own."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from api import problems
from api.settings import Settings
from telemetry.logs import configure_logs
from workers.stack.fork import die_with

if TYPE_CHECKING:
    from flask import Flask

#: How long requests that are being served may go on after SIGTERM.
GRACE = timedelta(seconds=10)
#: How long a worker may be silent before it is killed; its main thread only hands out requests.
SILENCE = timedelta(seconds=30)
#: How long an idle connection is kept for a next request.
KEEP_ALIVE = timedelta(seconds=5)
#: Bytes of method, address and version of a request, at most: as many as gunicorn ever takes. A filter of 2,000
#: characters has room, each of them percent-encoded (`api.problems` tells of the limit).
MAX_REQUEST_LINE = 8190
#: What gunicorn refuses before the application sees it, and would answer in HTML.
_REFUSED = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}

log = structlog.get_logger(__name__)


def run_api(settings: Settings, listener: socket.socket) -> None:
    """Serve HTTP on `listener` until SIGTERM, then let running requests finish.

    Args:
        settings: Complete, with the addresses of both servers.
        listener: Listening; stays open for its owner.

    Raises:
        SystemExit: Always: gunicorn ends so.
    """
    configure_logs(settings.servers.log_format, settings.servers.log_level, "api")
    _Server(settings, listener).run()


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        api = self._settings.api
        options = {
            # gunicorn closes the descriptor it is given, and ours must survive.
            "bind": f"fd://{os.dup(self._listener.fileno())}",
            "worker_class": _Worker,
            "workers": api.processes,
            # A stream keeps its thread until it ends: with these there are always enough for requests.
            "threads": api.threads + api.streams,
            "timeout": int(SILENCE.total_seconds()),
            "graceful_timeout": int(GRACE.total_seconds()),
            "keepalive": int(KEEP_ALIVE.total_seconds()),
            "limit_request_line": MAX_REQUEST_LINE,
            "control_socket_disable": True,  # it would be in the user's home folder
            "worker_tmp_dir": _memory(),
            "logger_class": _Logger,
            "loglevel": "warning",
            "post_fork": _tie_worker,
            "worker_exit": _close_app,
            "proc_name": "weir-api",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application, made after the fork: its pool and threads are the worker's own."""
        from api.app import create_app, tell_of_itself

        try:
            app = create_app(self._settings)
            tell_of_itself(app)
        except Exception as error:
            # gunicorn would print the message, and it may quote what is nobody's business.
            log.critical("api_not_created", exc_info=error)
            raise SystemExit(Arbiter.APP_LOAD_ERROR) from None
        return app


class _Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Ends its streams when it is told to stop, so that nobody waits for them until the grace is over.

    And answers with a problem where gunicorn has a limit that somebody may meet who means well.
    """

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ANN401 - likewise
        status = _REFUSED.get(type(exc))
        if status is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Invalid request")
        with suppress(OSError):  # whoever asked is gone
            write_nonblock(client, _refusal(status))

    def handle_exit(self, sig: Any, frame: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        # In the main loop and not here: whoever the signal interrupts may hold a lock.
        self.method_queue.defer(self._end_streams)
        super().handle_exit(sig, frame)

    def _end_streams(self) -> None:
        from api.resources.context import end_streams

        if self.app.callable is not None:
            end_streams(self.app.callable)


def _refusal(status: HTTPStatus) -> bytes:
    """A whole HTTP answer."""
    body = json.dumps(problems.of_status(status, "").body).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: {problems.MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _memory() -> str | None:
    """A folder in memory for gunicorn's heartbeat files, which no disk needs to turn for; None if there is none."""
    folder = "/dev/shm"  # noqa: S108 - its files are unlinked as soon as they are made
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


class _Logger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Hands everything to our own logging; there is no access log: requests are events."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True

    def warning(self, msg: str, *_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Gunicorn quotes a request that is no HTTP, and that is somebody's text: only say that there was one."""
        log.warning("request_malformed" if msg.startswith("Invalid request") else "server_warned")


def _close_app(_arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """A worker ends without Python's own exit when its arbiter was forked: what it holds is handed over here."""
    from api.app import close_app

    if worker.app.callable is not None:
        close_app(worker.app.callable)


def _tie_worker(arbiter: Any, _worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    die_with(arbiter.pid)
