"""The API's listening socket, and the question whether somebody answers behind it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from api.cli.listener import find_owner, open_listener, url_of
from api.cli.services import HealthProbe
from workers.stack.errors import AddressInUse, StartFailed

LISTEN_ELSEWHERE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        yield listener


def test_port_0_picks_a_free_one(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    assert port > 0
    assert url_of(listener) == f"http://127.0.0.1:{port}"


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp6"), reason="no IPv6 here")  # noqa: PTH110 - at collection
def test_a_url_of_an_ipv6_address_has_brackets() -> None:
    with closing(open_listener("::1", 0)) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_listener_on_every_address_is_found_on_this_machine() -> None:
    with closing(open_listener("0.0.0.0", 0)) as listener:  # noqa: S104 - for a moment, and nobody answers
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"

        with closing(HealthProbe(listener, "weir.example")) as probe:
            assert not probe()
            asked, _ = listener.accept()
            with asked:
                assert f"\r\nHost: weir.example:{port}\r\n".encode() in asked.recv(1000)


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells who listens")
def test_an_address_in_use_is_refused_naming_the_process_and_the_remedy() -> None:
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", LISTEN_ELSEWHERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())

        with pytest.raises(
            AddressInUse, match=rf"127\.0\.0\.1:{port} is in use by process {other.pid} \(\w+"
        ) as refused:
            open_listener("127.0.0.1", port)

        assert "--port" in (refused.value.hint or "")
        other.communicate("")


def test_nobody_listens_on_a_port_that_was_closed() -> None:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert find_owner(port) is None


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartFailed, match=r"cannot listen on 192\.0\.2\.1:0"):
        open_listener("192.0.2.1", 0)


def _accept(listener: socket.socket) -> socket.socket:
    """What the probe sent is there before its question returns: nothing to wait for."""
    connection, _ = listener.accept()
    assert connection.recv(1000).startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")
    return connection


def _answer(listener: socket.socket, probe: HealthProbe, answer: bytes) -> bool:
    """Ask, answer, and ask again once the answer has arrived."""
    assert not probe()
    with _accept(listener) as connection:
        connection.sendall(answer)
    asked = probe._asked
    assert asked is not None
    assert select.select([asked], [], [], 10)[0]
    return probe()


def test_nobody_answering_is_not_ready_and_costs_one_connection(listener: socket.socket) -> None:
    with closing(HealthProbe(listener, "127.0.0.1")) as probe:
        assert [probe() for _ in range(3)] == [False] * 3

    listener.setblocking(False)
    _accept(listener).close()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_only_200_is_ready(listener: socket.socket) -> None:
    probe = HealthProbe(listener, "127.0.0.1")

    assert not _answer(listener, probe, b"HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\n")
    assert not _answer(listener, probe, b"")
    assert _answer(listener, probe, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_closed_listener_is_not_ready(listener: socket.socket) -> None:
    probe = HealthProbe(listener, "127.0.0.1")
    listener.close()

    assert not probe()
