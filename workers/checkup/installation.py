"""Looks at an installation that need not run: Python, packages, versions of servers, home, sockets, limits, locale."""

from __future__ import annotations

import locale
import os
import re
import resource
import stat
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import psycopg
import redis

from telemetry.connections import OLDEST_REDIS, connect, open_redis
from telemetry.errors import WeirError
from workers.checkup.finding import Finding, Status, Surroundings
from workers.embedded.places import MAX_SOCKET_PATH
from workers.home import SECRETS, Home
from workers.readiness import PATIENCE

OLDEST_PYTHON: Final = (3, 11)
OLDEST_POSTGRES: Final = 15
#: Files that a process may have open, at least: connections, streams, logs.
_LEAST_FILES: Final = 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9._-]+")


def look_at_installation(home: Home, at: Surroundings) -> list[Finding]:
    """Everything about this machine that needs no running stack."""
    looks = (
        look_at_python(),
        look_at_packages(),
        look_at_locale(),
        look_at_limits(),
        look_at_home(home),
        look_at_sockets(home, at.servers.health_dir),
    )
    return [finding for look in looks for finding in look]


def look_at_python() -> Iterator[Finding]:
    """Whether Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield _found("python", "critical", f"Python {version} is too old", "make setup PYTHON=python3.11")
    else:
        yield _found("python", "healthy", f"Python {version} on {sys.platform}")


def look_at_packages(name: str = "weir") -> Iterator[Finding]:
    """Whether what this program is built on is installed."""
    try:
        asked = [each for each in metadata.requires(name) or () if "extra ==" not in each]
    except metadata.PackageNotFoundError:
        yield _found("packages", "critical", f"{name} is not installed for this Python", "make setup")
        return
    names = [match[0] for match in map(_REQUIREMENT.match, asked) if match]
    versions = {each: _version(each) for each in names}
    missing = [each for each, version in versions.items() if version is None]
    if missing:
        yield _found("packages", "critical", f"not installed: {', '.join(missing)}", "make setup")
        return
    shown = ", ".join(
        f"{each} {versions[each]}" for each in ("dramatiq", "psycopg", "redis", "flask") if each in versions
    )
    yield _found("packages", "healthy", f"weir {metadata.version(name)} with all {len(names)} packages: {shown}")


def look_at_locale() -> Iterator[Finding]:
    """Whether texts are UTF-8 here."""
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.lower().replace("-", "") == "utf8":
        yield _found("locale", "healthy", f"texts are {encoding}")
    else:
        yield _found("locale", "warning", f"texts are {encoding}: marks and names show as ?", "export LC_ALL=C.UTF-8")


def look_at_limits() -> Iterator[Finding]:
    """Whether a process may open as many files as one of ours needs."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_few = files != resource.RLIM_INFINITY and files < _LEAST_FILES
    detail = f"a process may open {files} files"
    yield (
        _found("open_files", "warning", detail, f"ulimit -n {_LEAST_FILES}")
        if is_few
        else _found("open_files", "healthy", detail)
    )


def look_at_home(home: Home) -> Iterator[Finding]:
    """Whether the home is there, ours, writable, and its secrets are nobody else's to read."""
    if not home.root.exists():
        yield _found("home", "unknown", f"{home.root} is not there yet", "weir up --detach")
        return
    facts = home.root.stat()
    if facts.st_uid != os.geteuid():
        yield _found("home", "critical", f"{home.root} belongs to another user", "export WEIR_HOME=$HOME/.weir")
    elif not os.access(home.root, os.W_OK | os.X_OK):
        yield _found("home", "critical", f"{home.root} cannot be written", f"chmod u+rwx {home.root}")
    elif facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield _found("home", "critical", f"{home.root} can be written by others", f"chmod go-w {home.root}")
    else:
        yield _found("home", "healthy", f"{home.root} is ours, mode {stat.S_IMODE(facts.st_mode):o}")
    private = [home.secrets, *(home.secrets / name for name in SECRETS), home.spool, home.run]
    yield from _private("secrets", private)


def look_at_sockets(home: Home, health_dir: Path | None) -> Iterator[Finding]:
    """Whether sockets have paths that fit, and are nobody else's to open."""
    longest = max(len(os.fsencode(folder / "maintenance.sock")) for folder in (home.run, health_dir or home.run))
    if longest >= MAX_SOCKET_PATH:
        detail = f"paths of sockets have {longest} bytes, and at most {MAX_SOCKET_PATH - 1} fit"
        yield _found("socket_paths", "warning", detail, "export WEIR_HOME=$HOME/.weir")
    else:
        yield _found("socket_paths", "healthy", f"paths of sockets have at most {longest} bytes")
    if health_dir is not None and health_dir.exists():
        yield from _private("sockets", [health_dir, *health_dir.glob("*.sock")])


def look_at_versions(database_url: str | None, redis_url: str | None) -> Iterator[Finding]:
    """Whether the servers that answer are new enough; nothing about those that do not, which is a finding elsewhere."""
    try:
        if database_url:
            with connect(database_url, name="weir doctor", autocommit=True, statement_timeout=PATIENCE) as connection:
                major = connection.info.server_version // 10_000
            yield _version_found("postgres", f"PostgreSQL {major}", is_old=major < OLDEST_POSTGRES)
    except (psycopg.Error, WeirError) as error:
        yield _found("postgres", "critical", f"Postgres does not answer ({type(error).__name__})", "weir up --detach")
    try:
        if redis_url:
            with open_redis(redis_url, timeout=PATIENCE, retries=0) as client:
                facts: dict[str, object] = client.info("server")
            version = str(facts.get("redis_version", "0"))
            shown = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {version}"
            yield _version_found("redis", shown, is_old=int(version.partition(".")[0]) < OLDEST_REDIS)
    except (redis.RedisError, WeirError) as error:
        yield _found("redis", "critical", f"Redis does not answer ({type(error).__name__})", "weir up --detach")


def _version_found(name: str, shown: str, *, is_old: bool) -> Finding:
    if is_old:
        return _found(name, "critical", f"{shown} is too old", "unset WEIR_DATABASE_URL WEIR_REDIS_URL; weir up")
    return _found(name, "healthy", shown)


def _private(name: str, paths: Iterable[Path]) -> Iterator[Finding]:
    """Whether nobody else may read or write any of these that are there."""
    open_to_others = [path for path in paths if path.exists() and path.stat().st_mode & _OTHERS]
    if open_to_others:
        listed = " ".join(map(str, open_to_others))
        yield _found(name, "critical", f"others may open {listed}", f"chmod go-rwx {listed}")
    else:
        yield _found(name, "healthy", "nobody else may open them")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _found(name: str, status: Status, detail: str, fix: str | None = None) -> Finding:
    return Finding(name, "machine", status, detail, fix=fix)
