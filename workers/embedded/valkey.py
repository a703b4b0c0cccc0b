"""An embedded Valkey (or Redis): an append-only file, a unix socket and a loopback port, a password."""

from __future__ import annotations

import signal
import socket
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from workers.embedded.binaries import Program, find_valkey, within_reach
from workers.embedded.places import Leftovers, choose_port, fits, look_at, read_port
from workers.home import VALKEY_PASSWORD, Home, HomeNotReady, write_private, writing
from workers.processes import SERVER_ENVIRONMENT, Launch, ServerUser, find_server_user


class EmbeddedValkey:
    """Valkey on `home/valkey`. Everybody needs the password; the socket is for the server's user (and root) only.

    Args:
        home: Prepared before `prepare` is called.
        choice: As `ServerSettings.redis_server`.
        user: As `ServerSettings.server_user`.
        durable: False only for tests: what the last second wrote may be lost in a power cut, or more.
    """

    name = "valkey"

    def __init__(self, home: Home, *, choice: str = "wheel", user: str | None = None, durable: bool = True) -> None:
        self._home = home
        self._choice = choice
        self._user_name = user
        self._durable = durable
        self._socket = home.valkey / "valkey.sock"
        self._configuration = home.valkey / "valkey.conf"

    @property
    def url(self) -> str:
        port = read_port(self._home, self.name)
        password = quote(self._home.secret(VALKEY_PASSWORD), safe="")
        if fits(self._socket):
            return f"unix://:{password}@{quote(str(self._socket))}?db=0"
        return f"redis://:{password}@127.0.0.1:{port}/0"

    @cached_property
    def program(self) -> Program:
        return find_valkey(self._choice)

    def prepare(self) -> None:
        if look_at(self._home.valkey, self._binary) is Leftovers.RUNNING:
            return
        with writing(self._home.valkey):
            port = choose_port(self._home, self.name)
            write_private(self._configuration, self._configure(port), scratch=self._home.run, owner=self._user)

    def launch(self) -> Launch:
        return Launch(
            argv=(str(self._binary), str(self._configuration)),
            stop_signal=signal.SIGTERM,
            env=SERVER_ENVIRONMENT,
            user=self._user,
            directory=self._home.valkey,
        )

    def is_ready(self) -> bool:
        # By hand: redis-py leaves a socket behind for every connection that is refused, and this asks until it is not.
        try:
            password = self._home.secret(VALKEY_PASSWORD)
            with self._connect() as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except (OSError, HomeNotReady):
            return False

    def _connect(self) -> socket.socket:
        unix = fits(self._socket)
        connection = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(1)
            connection.connect(str(self._socket) if unix else ("127.0.0.1", read_port(self._home, self.name)))
        except OSError:
            connection.close()
            raise
        return connection

    @cached_property
    def _user(self) -> ServerUser | None:
        return find_server_user(self._user_name)

    @cached_property
    def _binary(self) -> Path:
        return within_reach(self.program, self._home, self._user)

    def _configure(self, port: int) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": self._home.secret(VALKEY_PASSWORD),
            "dir": _quoted(self._home.valkey),
            "appendonly": "yes",
            "appendfsync": "everysec" if self._durable else "no",
            "save": '""',
            # A full Redis refuses writes, and the recorder spools: nothing is thrown away behind our back.
            "maxmemory-policy": "noeviction",
            "maxclients": "1000",
            "tcp-backlog": "128",
            "databases": "64",
            "loglevel": "warning",
            # A crash report would quote commands.
            "crash-log-enabled": "no",
        }
        if fits(self._socket):
            settings |= {"unixsocket": _quoted(self._socket), "unixsocketperm": "700"}
        return "".join(f"{key} {value}\n" for key, value in settings.items())


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
