"""The links of the chaos harness do to a connection what they say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from chaos.proxy import Link, Links


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Answers every byte with the same byte."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except ConnectionError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=[connection], daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def links() -> Iterator[Links]:
    with Links() as started:
        yield started


@pytest.fixture
def link(links: Links, server: socket.socket) -> Link:
    return links.open(server.getsockname)


def connected(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def answer(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(1024)


def test_a_link_relays_both_ways(link: Link) -> None:
    with connected(link) as connection:
        assert answer(connection, b"there") == b"there"


def test_a_refusing_link_resets_what_is_open_refuses_what_comes_and_keeps_its_port(links: Links, link: Link) -> None:
    with connected(link) as connection:
        assert answer(connection, b"1") == b"1"
        links.begin(link, "refuse")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connected(link)
    links.mend(link)
    with connected(link) as connection:
        assert answer(connection, b"2") == b"2"


def test_a_hanging_link_lets_nothing_pass_and_everything_afterwards(links: Links, link: Link) -> None:
    with connected(link) as connection:
        assert answer(connection, b"1") == b"1"
        links.begin(link, "hang")
        connection.sendall(b"2")
        connection.settimeout(0.1)
        with connected(link) as another, pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        links.mend(link)
        assert connection.recv(1) == b"2"
        assert another.fileno() == -1


def test_a_deaf_link_lets_requests_pass_and_their_answers_never(links: Links, link: Link) -> None:
    with connected(link) as connection:
        assert answer(connection, b"1") == b"1"
        links.begin(link, "deaf")
        connection.sendall(b"2")
        links.mend(link)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connected(link) as connection:
        assert answer(connection, b"3") == b"3"


def test_a_server_that_is_down_is_a_connection_that_ends(links: Links) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        link = links.open(nobody.getsockname)
        with pytest.raises(ConnectionResetError), connected(link) as connection:
            connection.recv(1)
