"""Streams under the real server: they starve nobody, and end when their reader, or the server, does."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest
from fixtures.installations import Installation, awaited, make_installation


@pytest.fixture
def narrow_installation() -> Iterator[Installation]:
    """A stack whose API has as few threads as it may have."""
    with make_installation(WEIR_API_THREADS="2", WEIR_API_STREAMS="3") as installation:
        installation.up()
        yield installation


def read(installation: Installation, execution_id: str) -> socket.socket | None:
    """A stream of which the first event has come; none if there is no place for it."""
    host, _, port = installation.address.rpartition(":")
    peer = socket.create_connection((host, int(port)), timeout=30)
    path = f"/api/executions/{execution_id}/events"
    peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    seen = b""
    while b'"state":"queued"' not in seen:
        seen += peer.recv(4096)
        if seen.startswith(b"HTTP/1.1 503"):
            peer.close()
            return None
    return peer


def rest(peer: socket.socket) -> bytes:
    found = b""
    while part := peer.recv(4096):
        found += part
    return found


@pytest.mark.req("D-01")
def test_streams_starve_nobody_and_end_with_their_reader_or_the_server(narrow_installation: Installation) -> None:
    api = narrow_installation
    with api.paused("worker"):
        execution_id = api.submit("todo.add", {"body": "x"})
        path = f"/api/executions/{execution_id}"
        peers = [peer for _ in range(3) if (peer := read(api, execution_id))]

        # As many as may be, and more than there are threads for requests: those are answered.
        assert len(peers) == 3
        assert api.request("GET", f"{path}/events").status == 503
        assert [api.request("GET", path).status for _ in range(10)] == [200] * 10

        # One goes: soon there is a place for another.
        peers.pop().close()
        another = awaited(lambda: read(api, execution_id))
        assert another is not None
        peers.append(another)

        # The server is told to go: each reader is told when to come back, and is cut off by nobody.
        pid = api.pid_of("api")
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        ends = [rest(peer) for peer in peers]
        for peer in peers:
            peer.close()
    assert [b"retry: 1000\n\n" in end and end.endswith(b"0\r\n\r\n") for end in ends] == [True] * 3
