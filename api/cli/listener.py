"""The API's listening socket: opened before anything is forked, so that it outlives every restart of the API."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from workers.stack.errors import AddressInUse, StartFailed

#: Connections that may wait while the API starts again.
BACKLOG = 1024

#: Seconds a client may be silent in the middle of a request, or let an answer wait.
SILENCE_S = 10

#: The addresses that stand for every address of a machine, and where to find what listens on them.
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

#: States of /proc/net/tcp (net/tcp_states.h in Linux).
_LISTENING = "0A"


class Owner(NamedTuple):
    """A process that listens on a port."""

    pid: int
    command: str


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket; with port 0 on a free port.

    Raises:
        AddressInUse: Somebody listens there; says who, if that can be found.
        StartFailed: The address cannot be listened on for another reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every connection: one that says nothing, or takes nothing, holds a thread no longer than this.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SILENCE_S, 0))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise (_in_use(host, port) if error.errno == errno.EADDRINUSE else _unusable(host, port, error)) from error
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Where clients on this machine find it: the loopback address if it listens on all of them."""
    host, port = listener.getsockname()[:2]
    return here(host), port


def url_of(listener: socket.socket) -> str:
    """As `address_of`: `http://127.0.0.1:7420`."""
    return f"http://{netloc(*address_of(listener))}"


def netloc(host: str, port: int) -> str:
    """Host and port as URLs and the Host header have them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def here(host: str) -> str:
    """Where on this machine to find what listens on `host`."""
    return _HERE.get(host, host)


def find_owner(port: int) -> Owner | None:
    """Who listens on a port of this machine; None if the system does not tell us (another user's, no /proc)."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(entry.readlink()) in sockets for entry in folder.iterdir()):
                command = (folder.parent / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return Owner(int(folder.parent.name), command)
        except OSError:  # gone meanwhile, or not ours to look at
            continue
    return None


def _listening_inodes(port: int) -> list[str]:
    found = []
    for table in ("tcp", "tcp6"):
        try:
            rows = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # not Linux
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found


def _in_use(host: str, port: int) -> AddressInUse:
    owner = find_owner(port)
    by = f" by process {owner.pid} ({owner.command})" if owner else " by another process"
    return AddressInUse(
        f"{host}:{port} is in use{by}",
        hint="Choose another port with --port (0 picks a free one) or WEIR_API_PORT.",
        port=port,
        pid=owner.pid if owner else None,
    )


def _unusable(host: str, port: int, error: OSError) -> StartFailed:
    return StartFailed(f"cannot listen on {host}:{port}: {error.strerror}", hint="Set WEIR_API_HOST and WEIR_API_PORT.")
