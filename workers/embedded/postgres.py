"""An embedded PostgreSQL: one data folder, a unix socket and a loopback port, small and private."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg

from workers.embedded.binaries import Program, find_postgres, within_reach
from workers.embedded.places import Leftovers, choose_port, fits, look_at, read_port
from workers.home import POSTGRES_PASSWORD, Home, HomeNotReady, write_private, writing
from workers.processes import SERVER_ENVIRONMENT, Launch, ServerFailed, ServerUnfit, ServerUser, find_server_user, run

_FULL_DISK = "Free some space, or set WEIR_HOME to a folder on another disk."

_ROLE = "weir"
_DATABASE = "weir"
#: Since this version PostgreSQL has a locale of its own, the same on every system.
_BUILTIN_LOCALE_SINCE = (17,)
_IO_METHOD_SINCE = (18,)
#: What the system's C library calls "the letters of Unicode, and no language".
_UNICODE = "UTF-8" if sys.platform == "darwin" else "C.UTF-8"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    # Small: seven processes of Weir with a handful of connections each.
    "max_connections": "100",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "jit": "off",
    # One machine, no replicas: less to write, and what is copied into a new table is not logged twice.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "512MB",
    # A busy queue leaves its dead rows to every claim until vacuum has passed.
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Privacy: messages of failed statements quote values, and their details quote rows. `log` leaves those out and
    # keeps what is about the server itself (in this setting LOG ranks above ERROR).
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_autovacuum_min_duration": "-1",
    "log_checkpoints": "off",
    "log_lock_waits": "off",
}


class EmbeddedPostgres:
    """PostgreSQL on `home/postgres`, with a database and a superuser both named `weir`.

    Local users get in through the socket, whose folder only the server's user (and root) can enter; the loopback port
    wants the password.

    Args:
        home: Prepared before `prepare` is called.
        choice: As `ServerSettings.postgres_server`.
        user: As `ServerSettings.server_user`.
        durable: False only for tests: a power cut may then lose the data.
    """

    name = "postgres"

    def __init__(self, home: Home, *, choice: str = "wheel", user: str | None = None, durable: bool = True) -> None:
        self._home = home
        self._choice = choice
        self._user_name = user
        self._durable = durable
        self._data = home.postgres / "data"

    @property
    def url(self) -> str:
        port = read_port(self._home, self.name)
        if fits(self._socket(port)):
            folder = quote(str(self._home.postgres), safe="")
            return f"postgresql://{_ROLE}@/{_DATABASE}?host={folder}&port={port}"
        password = quote(self._home.secret(POSTGRES_PASSWORD), safe="")
        return f"postgresql://{_ROLE}:{password}@127.0.0.1:{port}/{_DATABASE}"

    @cached_property
    def program(self) -> Program:
        return find_postgres(self._choice)

    def prepare(self) -> None:
        leftovers = look_at(self._data, self._binary)
        if leftovers is Leftovers.RUNNING:
            return
        with writing(self._home.postgres):
            if (self._data / "PG_VERSION").exists():
                self._require_version()
            else:
                self._initialise()
            if leftovers is Leftovers.NONE:
                self._clear_locks()
            choose_port(self._home, self.name)

    def launch(self) -> Launch:
        port = read_port(self._home, self.name)
        sockets = _listed(self._home.postgres) if fits(self._socket(port)) else ""
        settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": sockets}
        if self.program.version >= _IO_METHOD_SINCE:
            settings["io_method"] = "sync"  # no pool of three more processes
        if not self._durable:
            settings.update({"fsync": "off", "full_page_writes": "off"})
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return Launch(
            argv=(str(self._binary), "-D", str(self._data), *options),
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            env=SERVER_ENVIRONMENT,
            user=self._user,
            directory=self._home.postgres,
        )

    def is_ready(self) -> bool:
        try:
            # What pg_ctl looks at; a client that comes too early would leave a line in the log.
            if b"ready" not in (self._data / "postmaster.pid").read_bytes():
                return False
            with psycopg.connect(self.url, connect_timeout=1) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except (psycopg.Error, OSError, HomeNotReady):
            return False

    @cached_property
    def _user(self) -> ServerUser | None:
        return find_server_user(self._user_name)

    @cached_property
    def _binary(self) -> Path:
        return within_reach(self.program, self._home, self._user)

    def _socket(self, port: int) -> Path:
        # The longest name there: the socket's lock file.
        return self._home.postgres / f".s.PGSQL.{port}.lock"

    def _initialise(self) -> None:
        """Make the data folder beside its place and move it there when it is complete."""
        making = self._home.postgres / "data.new"
        if making.exists():  # a start that was killed half-way
            shutil.rmtree(making)
        password = self._home.postgres / "password.new"
        write_private(password, self._home.secret(POSTGRES_PASSWORD), scratch=self._home.run, owner=self._user)
        locale = ["--locale=C", "--encoding=UTF8"]
        if self.program.version >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:  # order by bytes all the same, but upper and lower case of every letter: what text search goes by
            locale.append(f"--lc-ctype={_UNICODE}")
        initdb = self._binary.with_name("initdb")
        options = [f"--username={_ROLE}", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        if not self._durable:
            options.append("--no-sync")
        try:
            self._run(initdb, f"--pgdata={making}", *locale, *options)
        finally:
            password.unlink()
        fsync = "on" if self._durable else "off"
        single = (self._binary, "--single", "-D", making, "-c", "log_min_messages=fatal", "-c", f"fsync={fsync}")
        self._run(*single, "postgres", stdin=f"create database {_DATABASE}\n")
        making.rename(self._data)

    def _run(self, *argv: str | Path, stdin: str = "") -> None:
        done = run(*argv, user=self._user, directory=self._home.postgres, stdin=stdin)
        if done.returncode != 0:
            raise ServerFailed(
                f"{Path(argv[0]).name} failed with {done.returncode}: {done.stderr.strip()}",
                hint=_FULL_DISK if os.strerror(errno.ENOSPC) in done.stderr else None,
            )

    def _require_version(self) -> None:
        major = int((self._data / "PG_VERSION").read_text(encoding="ascii"))
        if major != self.program.version[0]:
            raise ServerUnfit(
                f"{self._data} was made by PostgreSQL {major}; {self.program.path} is {self.program}",
                hint=f"Use PostgreSQL {major} (WEIR_POSTGRES_SERVER), or move the data with pg_dump and psql.",
            )

    def _clear_locks(self) -> None:
        """Remove what a killed server leaves: its number may be a zombie's by now, or another program's.

        Only once nobody is left in the folder: PostgreSQL's own check for that needs the file.
        """
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        for leftover in self._home.postgres.glob(".s.PGSQL.*"):
            leftover.unlink()


def _listed(folder: Path) -> str:
    """The folder as the only item of a list of PostgreSQL's."""
    return '"' + str(folder).replace('"', '""') + '"'
