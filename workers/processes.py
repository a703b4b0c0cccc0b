"""How a server process is started, as whom, and how it ends with us.

The supervisor knows servers only as `EmbeddedServer`: prepare it, spawn its launch, ask whether it is ready, send its
stop signal. `workers.embedded` has the two there are.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from telemetry.errors import WeirError

_LAUNCHER = Path(__file__).with_name("launcher.py")

#: All that servers get of an environment: nothing of ours, where secrets may be.
SERVER_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

#: What finding shared libraries may depend on, our own Python's for one.
_LOADER_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")

#: Users that servers run as when we are root, in order of preference.
_UNPRIVILEGED = ("postgres", "nobody")


class ServerUnfit(WeirError):
    """A server cannot be started with what is installed or configured: missing, too old, or not fit for its data."""

    code = "server.unfit"


class ServerFailed(WeirError):
    """A server's program ran and failed."""

    code = "server.failed"


class ServerBusy(WeirError):
    """Another process still uses a server's folder."""

    code = "server.busy"
    retryable = True


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The unprivileged user that servers run as when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one server in the foreground.

    Attributes:
        argv: An absolute path first.
        stop_signal: Asks it to stop cleanly and at once.
        env: Its environment; only where shared libraries are is added from ours.
        user: Who it runs as; None: as we are.
        directory: Its working folder.
    """

    argv: tuple[str, ...]
    stop_signal: signal.Signals
    env: Mapping[str, str]
    user: ServerUser | None
    directory: Path


class EmbeddedServer(Protocol):
    """A server that Weir starts itself."""

    name: str

    @property
    def url(self) -> str:
        """For clients on this machine. Valid once `prepare` ran."""
        ...

    def prepare(self) -> None:
        """Make its folder fit for a start: data, configuration, port, leftovers of a crash. Call before every spawn.

        Raises:
            ServerUnfit: The binaries are missing, too old, or of another version than the data.
            ServerBusy: A process still uses the data and did not leave within 10 s.
            ServerFailed: Its own tools failed.
            HomeUnwritable: The disk is full or read-only.
        """
        ...

    def launch(self) -> Launch:
        """How to start it. Valid once `prepare` ran."""
        ...

    def is_ready(self) -> bool:
        """Whether it answers a client, asked within a second; never raises."""
        ...


def find_server_user(name: str | None = None) -> ServerUser | None:
    """Who servers run as: None (as we are) for a plain user; for root the user `name`, else postgres, else nobody.

    Raises:
        ServerUnfit: There is no such user, or it is root.
    """
    if os.geteuid() != 0:
        return None
    for candidate in (name,) if name else _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    wanted = name or " or ".join(_UNPRIVILEGED)
    raise ServerUnfit(
        f"servers do not run as root, and there is no unprivileged user {wanted}",
        hint="Set WEIR_SERVER_USER to a user that exists and is not root.",
    )


def spawn(launch: Launch, *, stdout: int | IO[bytes] | None, stderr: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start a server that ends with us, in a session of its own, so that a terminal's Ctrl-C does not reach it.

    Call it from a thread that lives as long as the server should (the main one): on Linux the kernel watches that
    thread. If this process is killed, the server gets its stop signal. The returned process is the server itself on
    Linux; elsewhere a guardian that passes signals on, so kill it, if you must, with `os.killpg(process.pid, SIGKILL)`.

    Args:
        launch: What to start.
        stdout: As `subprocess.Popen` takes it; never a pipe nobody reads.
        stderr: Likewise.
    """
    return subprocess.Popen(  # noqa: S603 - argv is ours
        _command(launch),
        cwd=launch.directory,
        env=_environment(launch),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def run(
    *argv: str | Path, user: ServerUser | None, directory: Path = Path("/"), stdin: str = "", timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a short program to its end as a server's user, with a server's environment. Does not raise if it fails.

    Ctrl-C at a terminal is for us alone: half of what it does would look like its answer.

    Raises:
        ServerFailed: It was not done in `timeout_s`.
    """
    launch = Launch(tuple(str(part) for part in argv), signal.SIGKILL, SERVER_ENVIRONMENT, user, directory)
    try:
        return subprocess.run(  # noqa: S603 - argv is ours
            _command(launch),
            cwd=directory,
            env=_environment(launch),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{launch.argv[0]} was not done after {timeout_s:g} s") from error


def _command(launch: Launch) -> list[str]:
    mode = "exec" if sys.platform == "linux" else "guard"
    uid, gid = (launch.user.uid, launch.user.gid) if launch.user else (-1, -1)
    numbers = (os.getpid(), int(launch.stop_signal), uid, gid)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), mode, *map(str, numbers), *launch.argv]


def _environment(launch: Launch) -> dict[str, str]:
    return {name: os.environ[name] for name in _LOADER_VARIABLES if name in os.environ} | dict(launch.env)
