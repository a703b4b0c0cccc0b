"""Embedded servers in peace: what they are, who gets in, what they leave in logs, how they come back."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psycopg
import pytest
from fixtures.folders import make_open_folder
from fixtures.running import start_server
from redis.exceptions import AuthenticationError

from telemetry.connections import connect, open_redis
from workers.embedded import embedded_servers, server_urls
from workers.embedded.binaries import find_postgres
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import POSTGRES_PASSWORD, VALKEY_PASSWORD, Home, HomeNotReady, find_home
from workers.processes import EmbeddedServer, ServerUnfit, find_server_user
from workers.settings import ServerSettings

on_linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")


@dataclass
class Installation:
    """A home with both servers running."""

    home: Home
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    stack: ExitStack
    processes: dict[str, Popen[bytes]]

    def start(self, server: EmbeddedServer) -> None:
        self.processes[server.name] = start_server(self.stack, server, self.log(server))

    def stop(self, server: EmbeddedServer) -> int:
        process = self.processes[server.name]
        process.send_signal(server.launch().stop_signal)
        return process.wait(30)

    def log(self, server: EmbeddedServer) -> Path:
        return self.home.logs / f"{server.name}.log"


@pytest.fixture(scope="module")
def shared_installation() -> Iterator[Installation]:
    """Both servers, freshly made; some tests stop them."""
    with make_open_folder() as folder, ExitStack() as stack:
        home = Home(folder / "home")
        home.prepare(find_server_user())
        postgres, valkey = EmbeddedPostgres(home, durable=False), EmbeddedValkey(home, durable=False)
        yield Installation(home, postgres, valkey, stack, {})


@pytest.fixture
def installation(shared_installation: Installation) -> Installation:
    """Both servers, running."""
    for server in (shared_installation.postgres, shared_installation.valkey):
        if server.name not in shared_installation.processes or not server.is_ready():
            shared_installation.start(server)
    return shared_installation


def tcp_url(installation: Installation, password: str) -> str:
    port = psycopg.conninfo.conninfo_to_dict(installation.postgres.url)["port"]
    return f"postgresql://weir:{password}@127.0.0.1:{port}/weir"


def redis_port(installation: Installation) -> int:
    with open_redis(installation.valkey.url) as client:
        return int(client.config_get("port")["port"])


@pytest.mark.req("S-14", "D-03")
def test_local_users_come_in_by_socket_and_others_by_password(installation: Installation) -> None:
    home = installation.home
    with connect(installation.postgres.url, name="test") as connection:
        assert connection.info.host == str(home.postgres)
        assert connection.execute("select current_user, current_database()").fetchone() == ("weir", "weir")
    with connect(tcp_url(installation, home.secret(POSTGRES_PASSWORD)), name="test") as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(tcp_url(installation, "guessed"))

    port = redis_port(installation)
    with open_redis(f"redis://:{home.secret(VALKEY_PASSWORD)}@127.0.0.1:{port}/0") as client:
        assert client.ping()
    with open_redis(f"redis://127.0.0.1:{port}/0", retries=0) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_postgres_sorts_and_counts_time_the_same_everywhere(installation: Installation) -> None:
    with connect(installation.postgres.url, name="test") as connection:
        row = connection.execute(
            "select pg_encoding_to_char(encoding), datlocprovider::text, datlocale, current_setting('timezone')"
            " from pg_database where datname = current_database()"
        ).fetchone()

    assert row == ("UTF8", "b", "C.UTF-8", "UTC")


def test_valkey_keeps_what_it_has_and_throws_nothing_away(installation: Installation) -> None:
    with open_redis(installation.valkey.url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.req("C-14")
def test_no_value_of_a_statement_reaches_a_log(installation: Installation) -> None:
    canary = "canary-7f3a"
    with connect(installation.postgres.url, name="test", autocommit=True) as connection:
        connection.execute("create temporary table notes (title text primary key, count integer check (count < 3))")
        connection.execute("insert into notes values (%s, 1)", (canary,))
        connection.execute("do $$ begin raise warning 'canary-7f3a'; raise log 'heard'; end $$")
        for statement in (
            "insert into notes values (%s, 1)",
            "insert into notes values (%s, 5)",
            "select %s::integer",
            "select %s::jsonb",
            "select no_such_function(%s)",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, (canary,))
    with open_redis(installation.valkey.url) as client:
        client.set(canary, canary)

    for server in (installation.postgres, installation.valkey):
        installation.stop(server)
        assert canary not in installation.log(server).read_text(encoding="utf-8")
    assert "heard" in installation.log(installation.postgres).read_text(encoding="utf-8")


@on_linux
def test_no_password_is_in_a_command_line_or_an_environment(installation: Installation) -> None:
    secrets = [installation.home.secret(name).encode() for name in (POSTGRES_PASSWORD, VALKEY_PASSWORD)]
    for process in installation.processes.values():
        for file in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{file}").read_bytes()
            assert not any(secret in content for secret in secrets)


@on_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="servers run as we are")
def test_as_root_the_servers_are_somebody_else(installation: Installation) -> None:
    user = find_server_user()
    assert user is not None
    for process in installation.processes.values():
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        )
        assert set(status["Uid"].split()) == {str(user.uid)}
        assert set(status["Gid"].split()) == {str(user.gid)}
        assert set(status["Groups"].split()) <= {str(user.gid)}


@on_linux
def test_a_terminals_interrupt_does_not_reach_the_servers(installation: Installation) -> None:
    for process in installation.processes.values():
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


@on_linux
def test_both_servers_are_small(installation: Installation) -> None:
    with connect(installation.postgres.url, name="test") as connection:
        connection.execute("select 1")
        total = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _belongs_to(entry, installation.processes):
                lines = (entry / "smaps_rollup").read_text(encoding="ascii").splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    assert total < 60 * 1024  # kB


def test_preparing_what_runs_changes_nothing(installation: Installation) -> None:
    for server in (installation.postgres, installation.valkey):
        before = server.url
        server.prepare()
        assert server.url == before
        assert server.is_ready()


@pytest.mark.req("D-03")
def test_a_stop_is_clean_and_a_start_finds_everything_where_it_was(installation: Installation) -> None:
    urls = (installation.postgres.url, installation.valkey.url)
    with connect(urls[0], name="test") as connection, open_redis(urls[1]) as client:
        connection.execute("create table kept as select 'kept' as title")
        client.set("title", "kept")

    for server in (installation.postgres, installation.valkey):
        assert installation.stop(server) == 0
        assert not server.is_ready()
        installation.start(server)

    assert (installation.postgres.url, installation.valkey.url) == urls
    with connect(urls[0], name="test") as connection, open_redis(urls[1]) as client:
        assert connection.execute("select title from kept").fetchone() == ("kept",)
        assert client.get("title") == b"kept"
    assert "not properly shut down" not in installation.log(installation.postgres).read_text(encoding="utf-8")


def test_a_port_that_somebody_took_is_replaced(installation: Installation) -> None:
    before = redis_port(installation)
    installation.stop(installation.valkey)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", before))
        thief.listen()
        installation.start(installation.valkey)
        assert redis_port(installation) != before


@pytest.mark.parametrize("name", ["n" * 100, "a, b", 'it\'s a "home" 100% ü#?&'])
def test_any_name_of_a_home_will_do(open_folder: Path, name: str) -> None:
    home = Home(open_folder / name)
    home.prepare(find_server_user())
    with ExitStack() as stack:
        for server in (EmbeddedPostgres(home, durable=False), EmbeddedValkey(home, durable=False)):
            start_server(stack, server, home.logs / f"{server.name}.log")
        urls = server_urls(ServerSettings(home=home.root), home)
        with connect(urls.database_url, name="test") as connection, open_redis(urls.redis_url) as client:
            assert connection.execute("select 1").fetchone() == (1,)
            assert client.ping()
        by_socket = len(name) < 50 and "," not in name
        assert ("127.0.0.1" not in urls.database_url) is by_socket


def test_what_has_a_url_is_not_started(tmp_path: Path) -> None:
    home = Home(tmp_path)
    given = ServerSettings(database_url="postgresql://elsewhere/weir", redis_url="redis://elsewhere/0")

    assert embedded_servers(given, home) == []
    urls = server_urls(given, home)
    assert (urls.database_url, urls.redis_url) == ("postgresql://elsewhere/weir", "redis://elsewhere/0")
    assert [server.name for server in embedded_servers(ServerSettings(redis_url="redis://x"), home)] == ["postgres"]
    assert [server.name for server in embedded_servers(ServerSettings(database_url="x"), home)] == ["valkey"]


def test_where_nothing_was_ever_started_there_are_no_urls(tmp_path: Path) -> None:
    settings = ServerSettings(home=tmp_path)

    with pytest.raises(HomeNotReady, match="never started") as raised:
        server_urls(settings, find_home(settings))

    assert raised.value.hint == "weir up"
    assert not any(server.is_ready() for server in embedded_servers(settings, Home(tmp_path)))


def test_a_postgres_of_the_system_serves_as_well(open_folder: Path) -> None:
    try:
        program = find_postgres("system")
    except ServerUnfit:
        pytest.skip("no PostgreSQL of a supported version on this system")
    home = Home(open_folder / "home")
    home.prepare(find_server_user())
    with ExitStack() as stack:
        server = EmbeddedPostgres(home, choice="system", durable=False)
        start_server(stack, server, home.logs / "postgres.log")
        with connect(server.url, name="test") as connection:
            assert connection.info.server_version // 10_000 == program.version[0]
            assert connection.execute("select 'a' < 'B', 'ä' ~ '\\w'").fetchone() is not None


def test_data_of_another_version_is_refused_before_anything_is_touched(installation: Installation) -> None:
    installation.stop(installation.postgres)
    version = installation.home.postgres / "data" / "PG_VERSION"
    version.write_text("14\n", encoding="ascii")

    with pytest.raises(ServerUnfit, match=r"was made by PostgreSQL 14; .* is postgres 18") as raised:
        installation.postgres.prepare()

    assert "pg_dump" in str(raised.value.hint)
    version.write_text("18\n", encoding="ascii")


def test_postgres_stops_fast_with_clients_connected(installation: Installation) -> None:
    assert installation.postgres.launch().stop_signal == signal.SIGINT
    with closing(psycopg.connect(installation.postgres.url)) as connection:
        connection.execute("select 1")
        assert installation.stop(installation.postgres) == 0


def _belongs_to(entry: Path, processes: dict[str, Popen[bytes]]) -> bool:
    try:
        parent = int((entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return False
    pids = {process.pid for process in processes.values()}
    return int(entry.name) in pids or parent in pids
