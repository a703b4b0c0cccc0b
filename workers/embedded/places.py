"""What a server leaves behind and finds again: its port, and processes still in its folder."""

from __future__ import annotations

import enum
import os
import socket
import time
from pathlib import Path

from workers.home import Home, HomeNotReady, write_private
from workers.processes import ServerBusy

#: A unix socket's path must fit into sockaddr_un: 104 bytes on macOS, 108 on Linux. Below this it does everywhere.
MAX_SOCKET_PATH = 100
#: Seconds that the previous server may take to leave its folder.
_LEAVING_PATIENCE = 10.0
_LEAVING_INTERVAL = 0.02


def fits(socket_path: Path) -> bool:
    """Whether a unix socket can have this path, and clients can be told it (libpq splits lists of hosts at commas)."""
    return len(os.fsencode(socket_path)) < MAX_SOCKET_PATH and "," not in str(socket_path)


def read_port(home: Home, name: str) -> int:
    """The loopback port of a server, as last chosen.

    Raises:
        HomeNotReady: None was ever chosen.
    """
    try:
        return int((home.run / f"{name}.port").read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise HomeNotReady(f"{name} was never started in {home.root}", hint="weir up") from error


def choose_port(home: Home, name: str) -> int:
    """A loopback port that is free now: the one of last time, if it is.

    Somebody may still take it before the server does; the server then fails to start, and the next start chooses again.
    """
    try:
        port = read_port(home, name)
    except HomeNotReady:
        port = 0
    chosen = _bindable(port) or _bindable(0)
    if chosen != port:
        write_private(home.run / f"{name}.port", str(chosen), scratch=home.run)
    return chosen


def _bindable(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


class Leftovers(enum.Enum):
    """Who still works in a server's folder."""

    NONE = "nobody"
    RUNNING = "a child of this process: the server itself"
    UNKNOWN = "the system cannot tell: it has no /proc"


def look_at(folder: Path, binary: Path) -> Leftovers:
    """Who works in `folder`, once a previous server has left it.

    A killed postmaster leaves children that take a moment to notice, and a killed supervisor leaves servers that are
    shutting down: they are waited for.

    Args:
        folder: Working folder of the server and its children.
        binary: Path the server was started by.

    Raises:
        ServerBusy: Somebody else's server was still there after 10 s.
    """
    if not Path("/proc/self/cwd").exists():
        return Leftovers.UNKNOWN
    deadline = time.monotonic() + _LEAVING_PATIENCE
    while there := _processes_in(folder):
        if any(_is_our_server(pid, binary) for pid in there):
            return Leftovers.RUNNING
        if time.monotonic() > deadline:
            raise ServerBusy(
                f"process {there[0]} still works in {folder}",
                hint="Another Weir may be running on this home: see weir status. Otherwise end that process.",
                pids=there,
            )
        time.sleep(_LEAVING_INTERVAL)
    return Leftovers.NONE


def _processes_in(folder: Path) -> list[int]:
    """Living processes whose working folder is `folder`; zombies have none."""
    target = str(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if str((entry / "cwd").readlink()) == target:
                found.append(int(entry.name))
        except OSError:  # gone meanwhile, or not ours to look at and so not our server
            continue
    return sorted(found)


def _is_our_server(pid: int, binary: Path) -> bool:
    """Our child, and the server itself: where we are process 1 we inherit its orphans too, but those are renamed."""
    process = Path("/proc") / str(pid)
    try:
        parent = int((process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1])
        command = (process / "cmdline").read_bytes()
    except OSError:  # gone meanwhile
        return False
    return parent == os.getpid() and command.startswith(os.fsencode(binary))
