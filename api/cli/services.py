"""The five services of a stack: how each is entered, and what it needs to know."""

from __future__ import annotations

import importlib
import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from api.cli.listener import address_of, netloc
from api.settings import Settings
from workers.embedded.places import MAX_SOCKET_PATH
from workers.home import PSEUDONYM_KEY, Home, find_home
from workers.stack.service import Service

if TYPE_CHECKING:
    from workers.embedded import ServerUrls

#: Every service, in the order of starting.
SERVICES = ("api", "worker", "sink", "scheduler", "maintenance")

#: What the services import, gathered: imported once by the supervisor, shared by all that are forked from it.
_PRELOADED = ("api.app", "api.cli.server", "gunicorn.workers.gthread", "workers.boot")

#: Seconds to connect to the API, on this machine.
_CONNECT_WITHIN = 0.5


def complete(settings: Settings, home: Home, urls: ServerUrls) -> Settings:
    """The settings with everything a service needs: home, addresses of the servers, pseudonym key, folder of the spool.

    Without a key, given or in the home, there is none: services that need it say so, with whatever else they miss.
    """
    servers = replace(
        settings.servers,
        home=home.root,
        commands_dir=settings.servers.commands_dir.resolve(),
        database_url=urls.database_url,
        redis_url=urls.redis_url,
    )
    telemetry = settings.telemetry
    if telemetry.pseudonym_key is None and home.secrets.is_dir():
        telemetry = replace(telemetry, pseudonym_key=home.secret(PSEUDONYM_KEY))
    if telemetry.spool_dir is None:
        telemetry = replace(telemetry, spool_dir=home.spool)
    workers = replace(settings.workers, dsl=replace(settings.dsl, telemetry=telemetry))
    return replace(settings, servers=servers, workers=workers)


def preload() -> None:
    """Import what the services need."""
    for module in _PRELOADED:
        importlib.import_module(module)


def make_services(settings: Settings, listener: socket.socket) -> list[Service]:
    """The services of one stack, to be forked: each of `SERVICES`, and a worker for each lane beside the settings' own.

    Args:
        settings: As `complete` makes them.
        listener: The API's.
    """
    # Their lines go to the supervisor, which is not a terminal but shows them on one.
    shown = "json" if settings.servers.log_format == "json" else "console"
    servers = replace(settings.servers, log_format=shown, health_dir=health_folder(settings))
    settings = replace(settings, servers=servers)
    probe = HealthProbe(listener, settings.api.allowed_hosts[0])
    services = [
        Service(name, partial(run_service, name, settings, listener), is_ready=probe if name == "api" else None)
        for name in SERVICES
    ]
    others = [lane for lane in settings.dsl.lanes if lane != settings.workers.lane]
    return services + [Service(f"worker.{lane}", partial(_run_worker, lane, settings)) for lane in others]


def health_folder(settings: Settings) -> Path | None:
    """Where the processes of a stack say how they are: the folder that was given, else that of what runs in the home.

    None if neither takes a socket: a stack has to start under a long path too.
    """
    given, home = settings.servers.health_dir, find_home(settings.servers)
    longest = home.run / f"{max(SERVICES, key=len)}.sock"
    return given or (home.run if len(os.fsencode(longest)) < MAX_SOCKET_PATH else None)


def _run_worker(lane: str, settings: Settings) -> None:
    """Run a worker of another lane than the settings'. Its health is not asked for: the socket's name is taken."""
    workers, servers = replace(settings.workers, lane=lane), replace(settings.servers, health_dir=None)
    run_service("worker", replace(settings, workers=workers, servers=servers))


def run_service(name: str, settings: Settings, listener: socket.socket | None = None) -> None:
    """Run one of `SERVICES` in this process until SIGTERM.

    Args:
        name: Which.
        settings: As `complete` makes them.
        listener: Needed by `api`.
    """
    if name == "api":
        from api.cli.server import run_api

        if listener is None:
            raise ValueError("the api needs a listener")
        run_api(settings, listener)
    else:
        entry = getattr(importlib.import_module("workers.boot"), f"run_{name}")
        entry(settings.servers, settings.workers)


class HealthProbe:
    """Whether the API behind a listener answers `GET /healthz`; asked again and again, it never waits for the answer.

    One request is on its way at a time: it waits in the listener's backlog until there is an API to answer it.

    Args:
        listener: The API's.
        name: One by which it may be addressed.
    """

    def __init__(self, listener: socket.socket, name: str) -> None:
        self._address = address_of(listener)
        self._host = netloc(name, self._address[1])
        self._asked: socket.socket | None = None

    def __call__(self) -> bool:
        try:
            if self._asked is None:
                self._asked = self._ask()
            answer = self._asked.recv(64)
        except BlockingIOError:
            return False
        except OSError:  # the API that took the question ended; ask the next one
            answer = b""
        self.close()
        return answer.startswith(b"HTTP/1.1 200 ")

    def close(self) -> None:
        """Forget the question that is on its way."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None

    def _ask(self) -> socket.socket:
        asked = socket.create_connection(self._address, timeout=_CONNECT_WITHIN)
        asked.sendall(f"GET /healthz HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode())
        asked.setblocking(False)
        return asked
