"""The fixtures themselves: what a run without servers does, and how workers share one set of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from fixtures.running import Servers

ROOT = Path(__file__).parents[2]
TESTS = """
import os

def test_it_has_a_database_and_an_empty_redis(connection, redis):
    assert connection.execute("select count(*) from schema_migrations").fetchone()[0] > 0
    assert redis.dbsize() == 0
    redis.set("left", "behind")

def test_it_has_another_database(connection, redis):
    assert redis.dbsize() == 0
    connection.execute("create table only_here ()")

def test_it_has_yet_another_database(connection):
    assert connection.execute("select to_regclass('only_here')").fetchone() == (None,)
"""


def run_pytest(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("WEIR", "PYTEST_")) and name != "CI"
    }
    plugins = [part for name in ("clock", "folders", "servers", "databases") for part in ("-p", f"fixtures.{name}")]
    return subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", *plugins, *options],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def given(servers: Servers) -> dict[str, str]:
    redis_url = urlunsplit(urlsplit(servers.redis_url)._replace(query="db=15"))  # away from our own
    return {"WEIRTEST_DATABASE_URL": servers.database_url, "WEIRTEST_REDIS_URL": redis_url}


@pytest.mark.req("D-05")
def test_every_test_has_a_database_of_its_own_and_an_empty_redis(folder: Path) -> None:
    done = run_pytest(folder, "-n", "2", WEIRTEST_SERVERS="embedded")

    assert "3 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        (
            (),
            {"WEIRTEST_DATABASE_URL": "postgresql://127.0.0.1:1/x", "WEIRTEST_REDIS_URL": "redis://127.0.0.1:1"},
            "3 skipped",
        ),
        ((), {"WEIRTEST_DATABASE_URL": "postgresql://127.0.0.1:1/x", "CI": "true"}, "3 errors"),
        (("-n", "2"), {"WEIRTEST_DATABASE_URL": "postgresql://127.0.0.1:1/x", "CI": "true"}, "3 errors"),
    ],
    ids=["here", "CI", "CI, two processes"],
)
def test_without_servers_tests_are_skipped_here_and_fail_in_ci(
    folder: Path, options: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    done = run_pytest(folder, *options, **variables)

    assert said in done.stdout, done.stdout


def test_unit_tests_start_no_servers() -> None:
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", "pytest", "tests/unit/test_manual_clock.py", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "servers: none" in done.stdout
    assert done.returncode == 0


def test_the_servers_of_a_run_can_be_given(folder: Path, given: dict[str, str]) -> None:
    done = run_pytest(folder, **given)

    assert "3 passed" in done.stdout, done.stdout
