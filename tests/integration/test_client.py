from __future__ import annotations

import json
import select
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from api.client import ApiRefused, ApiUnreachable, Client, segment


class Told(BaseHTTPRequestHandler):
    """Answers as the path says, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []
    connections: ClassVar[set[tuple[str, int]]] = set()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.connections.add(self.client_address)
        status, said = 200, b'{"ok": true}'
        if "refuse" in self.path:
            status, said = 422, json.dumps({"detail": "no", "code": "request.invalid", "hint": "try"}).encode()
        elif "html" in self.path:
            status, said = 200 if "fine" in self.path else 502, b"<html>"
        elif "page" in self.path:
            more = "cursor=" not in self.path
            said = json.dumps({"items": [{"n": 1 if more else 2}], "next_cursor": "c" if more else None}).encode()
        elif "silence" in self.path:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        self.close_connection = "close" in self.path

    do_GET = do_POST = _answer  # noqa: N815 - the standard library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Told.asked.clear()
    Told.connections.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    server.daemon_threads = False
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_connection_serves_many_requests(url: str) -> None:
    with Client(url) as client:
        assert [client.get("/a"), client.get("/b"), client.post("/c", {}).body] == [{"ok": True}] * 3

    assert len(Told.connections) == 1


def test_a_kept_connection_that_the_server_closed_is_replaced_before_it_is_used(url: str) -> None:
    with Client(url) as client:
        client.get("/close")
        while not _is_readable(client):
            pass
        assert client.post("/b", {}).status == 200

    assert len(Told.connections) == 2


def _is_readable(client: Client) -> bool:
    sock = client._connection.sock
    return sock is None or bool(select.select([sock], [], [], 0)[0])


def test_requests_say_what_they_want_and_where_they_come_from(url: str) -> None:
    with Client(f"{url}/base/", api_key="k") as client:
        client.get("/x", {"a": 1, "b": None, "c": "ü&"})
        client.post("/y", {"ä": 1}, wait_s=3, headers={"X-Correlation-ID": "1"})

    (_, path, headers, _), (_, posted, sent, body) = Told.asked
    assert (path, posted) == ("/base/x?a=1&c=%C3%BC%26", "/base/y")
    assert (headers["x-weir-source"], headers["authorization"]) == ("cli", "Bearer k")
    assert (sent["prefer"], sent["content-type"], sent["x-correlation-id"]) == ("wait=3", "application/json", "1")
    assert json.loads(body) == {"ä": 1}


def test_a_problem_is_an_error_with_its_particulars(url: str) -> None:
    with Client(url) as client, pytest.raises(ApiRefused) as refused:
        client.get("/refuse")

    assert (refused.value.status, refused.value.detail, refused.value.hint) == (422, "no", "try")


@pytest.mark.parametrize("path", ["/html", "/html-fine", "/silence"])
def test_something_else_than_the_api_is_an_error_and_no_crash(url: str, path: str) -> None:
    with Client(url) as client, pytest.raises((ApiRefused, ApiUnreachable)):
        client.get(path)


def test_lists_are_read_to_their_end(url: str) -> None:
    with Client(url) as client:
        assert [item["n"] for item in client.pages("/page", {"limit": 1})] == [1, 2]


@pytest.mark.parametrize("address", ["", "localhost:7420", "ftp://x", "http://", "http://x:port", "http://x:99999"])
def test_what_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(ApiUnreachable):
        Client(address)


def test_nobody_there_says_what_to_do() -> None:
    with Client("http://127.0.0.1:1", hint="start it") as client, pytest.raises(ApiUnreachable) as nobody:
        client.get("/")

    assert nobody.value.hint == "start it"


def test_names_are_one_segment_of_a_path() -> None:
    assert segment("a/b c?#ü") == "a%2Fb%20c%3F%23%C3%BC"


def test_the_answer_has_its_headers(url: str) -> None:
    with Client(url) as client:
        answer = client.post("/x", {})

    assert answer.headers["content-length"] == "12"
    assert answer.status == 200
