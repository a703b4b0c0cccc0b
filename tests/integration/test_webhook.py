"""Posts go where they may and nowhere else, in the time they have, and who gets one can tell whose it is."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from fixtures.receivers import Certificate, Hook, talking

from dsl.channels.channel import Message
from dsl.channels.errors import ChannelFailed, ChannelRefused
from dsl.channels.webhook import Webhook, is_public
from dsl.settings import ChannelSettings
from telemetry.clock import to_unix_us
from telemetry.testing import NOON, ManualClock

pytestmark = pytest.mark.req("A-07")

SOMEWHERE = UUID(int=1)
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"
SHORT = timedelta(milliseconds=200)
HOUR = timedelta(hours=1)


def post(settings: ChannelSettings, clock: ManualClock | None = None) -> None:
    message = Message("warning", "It is <slow>: Grüße", "operator", SOMEWHERE, None, "alerts", NOON, SOMEWHERE)
    Webhook(settings, clock or ManualClock()).deliver(message, None)


def reason_of(settings: ChannelSettings) -> str:
    with pytest.raises(ChannelFailed) as raised:
        post(settings)
    return raised.value.reason


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Iterator[list[Any]]:
    """Every question for a name is answered with the next of these; what was asked."""
    asked: list[Any] = []
    look_up = socket.getaddrinfo

    def answer(host: str, port: int, *rest: Any, **named: Any) -> list[Any]:  # noqa: ANN401 - of `getaddrinfo`
        if host[0].isdecimal():
            return list(look_up(host, port, *rest, **named))
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers[len(asked) - 1]]

    with monkeypatch.context() as patch:
        patch.setattr("dsl.channels.webhook.socket.getaddrinfo", answer)
        yield asked


def test_who_gets_it_can_verify_it_as_the_page_says(hook: Hook) -> None:
    found = re.search(r"```python\n(.*?def is_of_weir.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    written: dict[str, Any] = {}
    exec(found[1], written)  # noqa: S102 - our own page
    verify, clock = written["is_of_weir"], ManualClock()

    for secret in ("secret", "whsec_c2VjcmV0"):
        post(replace(hook.settings, webhook_secret=secret), clock)
        headers, body = hook.posts[-1]
        now_s = to_unix_us(clock.now()) // 1_000_000
        assert verify(secret, headers, body, now_s)
        assert not verify("another", headers, body, now_s)
        assert not verify(secret, headers, body + b" ", now_s)
        assert not verify(secret, {**headers, "webhook-id": "another"}, body, now_s)
        assert not verify(secret, headers, body, now_s + 301)


def test_it_is_signed_anew_each_time_it_is_tried(hook: Hook) -> None:
    clock = ManualClock()
    for _ in range(2):
        post(hook.settings, clock)
        clock.advance(HOUR)
    first, second = (headers for headers, _ in hook.posts)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == HOUR.total_seconds()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"),
        *("0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.0.192", "198.18.0.1", "168.63.129.16"),  # noqa: S104 - nothing listens
        *("::1", "::", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1"),
    ],
)
def test_what_leads_back_into_this_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07::1", "64:ff9b::5db8:d70e", "::ffff:1.1.1.1"])
def test_what_leads_out_of_it_is(address: str) -> None:
    assert is_public(address)


def test_a_name_that_leads_to_something_else_the_second_time_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached: list[Any] = []

    def connect(address: Any, *_: object, **__: object) -> None:  # noqa: ANN401 - of a socket
        reached.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("dsl.channels.webhook.socket.create_connection", connect)
    with names(monkeypatch, ["93.184.215.14"], ["127.0.0.1"]) as asked:
        assert reason_of(ChannelSettings(webhook_url="http://hooks.example/")) == "connection_refused"
    assert (asked, reached) == (["hooks.example"], [("93.184.215.14", 80)])


def test_one_address_of_several_that_is_not_public_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with names(monkeypatch, ["93.184.215.14", "10.0.0.1"]):
        assert reason_of(ChannelSettings(webhook_url="http://hooks.example/")) == "address_not_public"


def test_of_several_addresses_the_first_that_answers_is_told(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    with names(monkeypatch, ["127.0.0.2", "127.0.0.1"]):
        post(replace(hook.settings, webhook_url=str(hook.settings.webhook_url).replace("127.0.0.1", "hooks.example")))
    assert len(hook.posts) == 1


def test_a_name_that_nobody_answers_for_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Event()

    def wait(*_: object, **__: object) -> list[Any]:
        go_on.wait(10)
        return []

    with monkeypatch.context() as patch:
        patch.setattr("dsl.channels.webhook.socket.getaddrinfo", wait)
        said = reason_of(ChannelSettings(webhook_url="http://hooks.example/", webhook_timeout=SHORT))
    go_on.set()
    assert said == "timeout"


def drip(sock: socket.socket) -> None:
    """A byte of a header that never ends, as long as anybody listens."""
    sock.recv(1)
    sock.sendall(b"HTTP/1.1 200 fine\r\nX: ")
    sock.settimeout(0.02)
    while True:
        sock.sendall(b"x")
        with suppress(TimeoutError):
            if sock.recv(65536) == b"":
                return


def shake_hands_slowly(sock: socket.socket) -> None:
    """Likewise, of a TLS record of 16 KiB."""
    sock.recv(1)
    sock.sendall(b"\x16\x03\x03\x40\x00")
    drip(sock)


def drip_secretly(context: ssl.SSLContext, sock: socket.socket) -> None:
    """As `drip`, encrypted."""
    with context.wrap_socket(sock, server_side=True) as wrapped:
        drip(wrapped)


@pytest.mark.parametrize("how", ["plain", "handshake", "encrypted"])
def test_who_answers_a_byte_at_a_time_is_not_listened_to_for_ever(
    how: str, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    talks: dict[str, Callable[[socket.socket], None]] = {
        "plain": drip,
        "handshake": shake_hands_slowly,
        "encrypted": partial(drip_secretly, certificate.context),
    }
    with talking(talks[how]) as port:
        url = f"{'http' if how == 'plain' else 'https'}://127.0.0.1:{port}/"
        said = reason_of(ChannelSettings(webhook_url=url, webhook_private=True, webhook_timeout=SHORT))
    assert said == "timeout"


@pytest.mark.parametrize(
    ("beginning", "more", "reason"),
    [
        (b"HTTP/1.1 200 fine\r\n", b"X-Header: something\r\n", "answer_malformed"),
        (b"HTTP/1.1 200 fine\r\nX-Header: ", b"x" * 1024, "answer_malformed"),
        (b"HTTP/1.1 200 ", b"x" * 1024, "answer_malformed"),
        (b"HTTP/1.1 200 fine\r\n\r\n", b"x" * 1024, None),
    ],
)
def test_of_an_answer_without_end_not_more_is_read_than_there_may_be(
    beginning: bytes, more: bytes, reason: str | None
) -> None:
    sent = 0

    def talk(sock: socket.socket) -> None:
        nonlocal sent
        sock.sendall(beginning)
        while True:
            sock.sendall(more)
            sent += len(more)

    with talking(talk) as port:
        settings = ChannelSettings(webhook_url=f"http://127.0.0.1:{port}/", webhook_private=True)
        if reason is None:
            post(settings)
        else:
            assert reason_of(settings) == reason
    assert sent < 16 << 20  # what systems hold for one another, and not a stream without end


def test_certificates_are_verified(
    hook: Hook, certificate: Certificate, other_certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(context: Any, sock: socket.socket) -> None:  # noqa: ANN401 - of TLS
        with context.wrap_socket(sock, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 204 fine\r\n\r\n")
            wrapped.recv(65536)

    for shown, trusted, is_fine in (
        (certificate, None, False),
        (other_certificate, other_certificate, False),
        (certificate, certificate, True),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file) if trusted else "/nowhere")
        with talking(lambda sock, shown=shown: talk(shown.context, sock)) as port:  # type: ignore[misc]
            settings = replace(hook.settings, webhook_url=f"https://localhost:{port}/")
            if is_fine:
                post(settings)
            else:
                assert reason_of(settings) == "certificate_not_trusted"


def test_a_name_and_a_password_in_the_address_are_told_as_such(hook: Hook) -> None:
    url = str(hook.settings.webhook_url).replace("http://", "http://weir:pass%20word@")
    post(replace(hook.settings, webhook_url=url))
    assert hook.posts[0][0]["Authorization"] == "Basic d2VpcjpwYXNzIHdvcmQ="


@pytest.mark.parametrize("target", ["/a b", "/\x01", "/ü", "/?q=a b"])
def test_an_address_that_cannot_be_said_is_refused(hook: Hook, target: str) -> None:
    with pytest.raises(ChannelRefused, match="address_invalid"):
        post(replace(hook.settings, webhook_url=f"http://127.0.0.1:1{target}"))
