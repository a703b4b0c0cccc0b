from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.home import (
    SECRETS,
    Home,
    HomeNotReady,
    HomeTaken,
    HomeUnreachable,
    HomeUnwritable,
    find_home,
    write_private,
)
from workers.processes import ServerUnfit, ServerUser, find_server_user
from workers.settings import ServerSettings

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
FOLDERS = ("postgres", "valkey", "servers", "run", "logs", "commands", "secrets", "spool")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def server_user() -> ServerUser | None:
    return find_server_user()


def test_a_home_that_was_named_is_taken_relative_to_where_we_are(tmp_path: Path) -> None:
    assert find_home(ServerSettings(home=tmp_path / "data")).root == tmp_path / "data"
    assert find_home(ServerSettings(home=Path("data")), tmp_path).root == tmp_path / "data"


def test_in_a_checkout_the_home_is_beside_the_code(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "weir"\n', encoding="utf-8")

    assert find_home(ServerSettings(), tmp_path).root == tmp_path / ".weir"


@pytest.mark.parametrize("text", ["", "[project]\nname = 'other'\n", "project = 1", "not toml", "\udcff"])
def test_elsewhere_the_home_is_the_platforms_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    (tmp_path / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))

    found = find_home(ServerSettings(), tmp_path).root

    assert found.name == "weir"
    assert tmp_path / ".weir" != found


@as_root
def test_as_root_each_folder_belongs_to_whoever_runs_in_it(open_folder: Path, server_user: ServerUser) -> None:
    home = Home(open_folder / "home")

    home.prepare(server_user)

    assert mode(home.root) == 0o711
    for name in FOLDERS:
        owner = server_user.uid if name in {"postgres", "valkey", "servers"} else 0
        assert (name, mode(home.root / name), (home.root / name).stat().st_uid) == (name, 0o700, owner)


def test_without_a_server_user_every_folder_is_ours_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    home.prepare(None)

    assert mode(home.root) == (0o711 if os.geteuid() == 0 else 0o700)
    assert {mode(home.root / name) for name in FOLDERS} == {0o700}
    assert {(home.root / name).stat().st_uid for name in FOLDERS} == {os.geteuid()}


def test_permissions_above_the_home_are_never_touched(open_folder: Path, server_user: ServerUser | None) -> None:
    above = [open_folder, *open_folder.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in above]

    Home(open_folder / "new" / "home").prepare(server_user)

    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in above] == before


def test_a_home_keeps_what_it_has_and_mends_its_permissions(open_folder: Path, server_user: ServerUser | None) -> None:
    home = Home(open_folder / "home")
    home.prepare(server_user)
    before = [home.secret(name) for name in SECRETS]
    home.logs.chmod(0o755)
    (home.root / "notes.txt").write_text("mine", encoding="utf-8")

    home.prepare(server_user)

    assert [home.secret(name) for name in SECRETS] == before
    assert mode(home.logs) == 0o700


@as_root
def test_a_home_the_server_user_cannot_reach_is_refused_naming_the_folder(
    open_folder: Path, server_user: ServerUser
) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(HomeUnreachable, match=f"{closed} is closed to it") as raised:
        Home(closed / "deep" / "home").prepare(server_user)

    assert raised.value.code == "home.unreachable"
    assert raised.value.facts == {"folder": str(closed), "user": server_user.name}
    assert "WEIR_HOME" in str(raised.value.hint)
    assert list(closed.iterdir()) == []
    assert mode(closed) == 0o700


@as_root
def test_a_group_that_may_pass_counts_as_it_will_for_the_server(open_folder: Path, server_user: ServerUser) -> None:
    shared = open_folder / "shared"
    shared.mkdir(mode=0o710)
    os.chown(shared, 0, server_user.gid)

    Home(shared / "home").prepare(server_user)

    assert mode(shared) == 0o710


def test_a_folder_with_something_else_in_it_is_left_alone(open_folder: Path, server_user: ServerUser | None) -> None:
    (open_folder / "thesis.txt").write_text("42", encoding="utf-8")

    with pytest.raises(HomeTaken, match="holds something else") as raised:
        Home(open_folder).prepare(server_user)

    assert raised.value.code == "home.taken"
    assert [path.name for path in open_folder.iterdir()] == ["thesis.txt"]
    assert mode(open_folder) == 0o755


def test_commands_may_be_there_before_the_first_start(open_folder: Path, server_user: ServerUser | None) -> None:
    (open_folder / "commands").mkdir()
    (open_folder / "commands" / "hello.yaml").write_text("slug: hello", encoding="utf-8")

    Home(open_folder).prepare(server_user)

    assert (open_folder / "commands" / "hello.yaml").exists()


@as_root
def test_a_folder_of_another_user_is_left_alone(open_folder: Path, server_user: ServerUser) -> None:
    os.chown(open_folder, server_user.uid, server_user.gid)

    with pytest.raises(HomeTaken, match="belongs to another user"):
        Home(open_folder).prepare(server_user)


def test_a_file_in_the_way_is_named(open_folder: Path, server_user: ServerUser | None) -> None:
    (open_folder / "file").write_text("", encoding="utf-8")

    for root in (open_folder / "file", open_folder / "file" / "home"):
        with pytest.raises((HomeUnwritable, HomeUnreachable)) as raised:
            Home(root).prepare(server_user)
        assert str(open_folder / "file") in raised.value.detail


@as_root
@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="no disk of its own to fill")
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "is on a read-only disk"), ("size=4k,nr_inodes=4", "is on a full disk")]
)
def test_a_disk_that_takes_nothing_is_said_so(open_folder: Path, options: str, reason: str) -> None:
    script = (
        "import sys; from pathlib import Path; from workers.home import Home, HomeUnwritable\n"
        "try: Home(Path(sys.argv[1]) / 'home').prepare(None)\n"
        "except HomeUnwritable as error: print(error.code, error)\n"
    )
    mounted = 'mount -t tmpfs -o "$1" tmpfs "$2" || exit 77; exec "$3" -c "$4" "$2"'
    done = subprocess.run(  # noqa: S603 - a mount of its own, gone with the process
        ["/usr/bin/unshare", "-m", "sh", "-c", mounted, "sh", options, str(open_folder), sys.executable, script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("no mounts here")

    assert done.stdout.startswith("home.read_only")
    assert reason in done.stdout


def test_secrets_are_long_private_and_different(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare(None)

    values = [home.secret(name) for name in SECRETS]

    assert len(set(values)) == len(SECRETS)
    assert all(len(value) >= 43 for value in values)
    assert {mode(home.secrets / name) for name in SECRETS} == {0o600}
    assert sorted(path.name for path in home.secrets.iterdir()) == sorted(SECRETS)


def test_starts_at_once_agree_on_the_secrets(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    def start(_number: int) -> list[str]:
        home.prepare(None)
        return [home.secret(name) for name in SECRETS]

    with ThreadPoolExecutor(8) as starts:
        seen = list(starts.map(start, range(8)))

    assert all(values == seen[0] for values in seen)


def test_a_home_never_used_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(HomeNotReady) as raised:
        Home(tmp_path).secret("postgres_password")

    assert raised.value.hint == "weir up"


def test_a_private_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    write_private(tmp_path / "file", "old", scratch=tmp_path / "scratch")

    with pytest.raises(UnicodeEncodeError):
        write_private(tmp_path / "file", "new \udcff", scratch=tmp_path / "scratch")

    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert mode(tmp_path / "file") == 0o600
    assert list((tmp_path / "scratch").iterdir()) == []


@as_root
@pytest.mark.parametrize("name", ["root", "no-such-user"])
def test_servers_run_as_nobody_else_than_an_unprivileged_user(name: str) -> None:
    with pytest.raises(ServerUnfit, match=f"no unprivileged user {name}") as raised:
        find_server_user(name)

    assert "WEIR_SERVER_USER" in str(raised.value.hint)


@as_root
def test_the_server_user_can_be_chosen() -> None:
    user = find_server_user("nobody")

    assert user is not None
    assert user.name == "nobody"
