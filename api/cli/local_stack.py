"""The stack of one machine: what `weir up` supervises, put together by hand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta

import structlog

from api.cli.listener import open_listener, url_of
from api.cli.services import complete, make_services, preload
from api.cli.terminal import Terminal
from api.settings import Settings
from migrations.runner import migrate
from telemetry.clock import SystemClock
from telemetry.connections import require_redis
from workers.embedded import embedded_servers, server_urls
from workers.home import Home
from workers.processes import find_server_user
from workers.stack.detach import Reporter
from workers.stack.lock import SupervisorLock
from workers.stack.output import Console
from workers.stack.service import Service
from workers.stack.supervisor import Stack

log = structlog.get_logger(__name__)

#: What services may take to stop beyond the time their running work has.
_STOP_MARGIN = timedelta(seconds=5)


class LocalStack:
    """The plan of a stack (`workers.stack.supervisor.Plan`): embedded servers where no URL was given, five services.

    Args:
        settings: As they were read.
        home: Prepared.
        listener: The API's.
        announce: Given the banner once everything runs; what it returns is shown on the console.
    """

    def __init__(self, settings: Settings, home: Home, listener: socket.socket, announce: Callable[[str], str]) -> None:
        self.servers = embedded_servers(settings.servers, home)
        self._settings = settings
        self._home = home
        self._listener = listener
        self._announce = announce

    def migrate(self) -> None:
        urls = server_urls(self._settings.servers, self._home)
        applied = migrate(urls.database_url)
        log.info("migrations_applied", applied=applied)
        require_redis(urls.redis_url)

    def preload(self) -> None:
        preload()

    def services(self) -> Sequence[Service]:
        urls = server_urls(self._settings.servers, self._home)
        return make_services(complete(self._settings, self._home, urls), self._listener)

    def urls(self) -> Mapping[str, str]:
        urls = server_urls(self._settings.servers, self._home)
        return {"api": url_of(self._listener), "database": urls.database_url, "redis": urls.redis_url}

    def ready(self) -> str:
        return self._announce(_banner(url_of(self._listener), self._settings, self._home))

    def stopping(self) -> None:
        self._listener.close()


def run_in_foreground(settings: Settings, home: Home) -> bool:
    """Supervise until told to stop, showing everything on standard output; whether Ctrl-C told.

    Raises:
        WeirError: It could not be started; see `workers.stack.supervisor.Stack.run`.
    """
    sys.stdout.flush()
    console = Console(sys.stdout.fileno(), coloured=Terminal.of_stdout().colour)
    return _run(settings, home, console, lambda banner: f"\n{banner}  Stop      Ctrl-C, or weir down\n\n", [])


def run_detached(settings: Settings, home: Home, reporter: Reporter) -> None:
    """Supervise until told to stop, with lines in the log file only, and the banner for `reporter`.

    Raises:
        WeirError: It could not be started; see `workers.stack.supervisor.Stack.run`.
    """

    def announce(banner: str) -> str:
        reporter.ready(f"{banner}  Logs      {home.logs / 'weir.log'}\n  Stop      weir down\n")
        return ""

    _run(settings, home, None, announce, [reporter])


def _run(
    settings: Settings,
    home: Home,
    console: Console | None,
    announce: Callable[[str], str],
    withheld: Sequence[Reporter],
) -> bool:
    clock = SystemClock()
    embeds = settings.servers.database_url is None or settings.servers.redis_url is None
    home.prepare(find_server_user(settings.servers.server_user) if embeds else None)
    with ExitStack() as stack:
        lock = stack.enter_context(SupervisorLock(home.run, home.root, clock))
        listener = stack.enter_context(closing(open_listener(settings.api.host, settings.api.port)))
        return Stack(
            settings.servers,
            home,
            LocalStack(settings, home, listener, announce),
            clock=clock,
            console=console,
            stop_within=settings.workers.shutdown_timeout + _STOP_MARGIN,
            withheld=[*withheld, lock],
        ).run()


def _banner(url: str, settings: Settings, home: Home) -> str:
    lines = [
        "Weir is up.",
        f"  API       {url}",
        f"  Home      {home.root}",
        f"  Commands  {settings.servers.commands_dir.resolve()}, {home.commands}",
    ]
    if settings.servers.home is not None and "WEIR_HOME" not in os.environ:
        lines.append(f"  First     export WEIR_HOME={home.root}")
    lines.append('  Try       weir run todo.add -i body="buy milk"')
    return "\n".join(lines) + "\n"
