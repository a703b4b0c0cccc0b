"""The webhook: a signed POST to one address, which the settings name and nobody else.

Signed as Standard Webhooks has it (https://www.standardwebhooks.com): HMAC-SHA-256 over `id.timestamp.body`. The name
is resolved once, and the address that was looked at is connected to, so that it cannot lead elsewhere in between;
redirects are not followed; what is answered is not read beyond its status.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from contextlib import closing, suppress
from datetime import timedelta
from threading import Event, Timer
from typing import Any, ClassVar, Final
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from psycopg import Connection

from dsl.channels.channel import Message
from dsl.channels.errors import ChannelFailed, ChannelRefused
from dsl.settings import ChannelSettings
from dsl.step import Effect

_NAME: Final = "webhook"
_PREFIX: Final = "whsec_"
_OK, _REDIRECTS, _REFUSED = range(200, 300), range(300, 400), range(400, 500)
#: Of those that refuse: what may be otherwise later.
_LATER: Final = frozenset({408, 425, 429})


class Webhook:
    """Posts the message as JSON: `type`, `timestamp` and `data`."""

    effect: ClassVar = Effect.EXTERNAL

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        if self._settings.webhook_url is None:
            raise ChannelRefused(_NAME, "not_configured")
        parts = _split(self._settings.webhook_url)
        body = _body(message)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "weir",
            "webhook-id": str(message.key),
            "webhook-timestamp": str(int(message.at.timestamp())),
        }
        if self._settings.webhook_secret is not None:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            headers["webhook-signature"] = signature(self._settings.webhook_secret, signed)
        address = resolve(str(parts.hostname), _port(parts), private=self._settings.webhook_private)
        status = _post(parts, address, body, headers, self._settings.webhook_timeout)
        if status not in _OK:
            raise _refusal(status)
        return None


def signature(secret: str, signed: bytes) -> str:
    """`v1,` and the HMAC of what is signed, in base64."""
    key = secret.encode()
    if secret.startswith(_PREFIX):
        with suppress(binascii.Error):
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def resolve(host: str, port: int, *, private: bool) -> str:
    """The address to connect to.

    Raises:
        ChannelFailed: There is none at the moment.
        ChannelRefused: One of them is not public, and must be.
    """
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise ChannelFailed(_NAME, "name_not_found") from None
    if not private and not all(map(_is_public, found)):
        raise ChannelRefused(_NAME, "address_not_public")
    return found[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
    return bool(inner.is_global and not inner.is_multicast)


class _Fixed(http.client.HTTPConnection):
    """Connects to an address that was looked at, whatever the name means by now."""

    def __init__(self, parts: SplitResult, address: str, timeout: timedelta) -> None:
        super().__init__(str(parts.hostname), _port(parts), timeout=timeout.total_seconds())
        self._address = address
        self._is_secret = parts.scheme == "https"

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._is_secret:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _post(parts: SplitResult, address: str, body: bytes, headers: dict[str, str], timeout: timedelta) -> int:
    """The status of the answer, within the timeout altogether."""
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    connection = _Fixed(parts, address, timeout)
    # The timeout of a socket is that of one read: who answers a byte at a time is ended by this.
    ended = Event()
    ending = Timer(timeout.total_seconds(), _end, [connection, ended])
    ending.daemon = True
    ending.start()
    try:
        with closing(connection):
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
    except TimeoutError:
        raise ChannelFailed(_NAME, "timeout") from None
    except ssl.SSLCertVerificationError:
        raise ChannelFailed(_NAME, "certificate_not_trusted") from None
    except ConnectionRefusedError:
        raise ChannelFailed(_NAME, "connection_refused") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise ChannelFailed(_NAME, "timeout" if ended.is_set() else "connection_lost") from None
    finally:
        ending.cancel()


def _end(connection: http.client.HTTPConnection, ended: Event) -> None:
    ended.set()
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _refusal(status: int) -> ChannelFailed:
    is_final = status in _REDIRECTS or (status in _REFUSED and status not in _LATER)
    return (ChannelRefused if is_final else ChannelFailed)(_NAME, f"status_{status}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and _port(parts):
            return parts
    except ValueError:
        pass
    raise ChannelRefused(_NAME, "address_invalid")


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _body(message: Message) -> bytes:
    data = {
        "level": message.level,
        "message": message.text,
        "origin": message.origin,
        "execution_id": None if message.execution_id is None else str(message.execution_id),
        **message.facts,
    }
    whole = {"type": message.kind, "timestamp": message.at.isoformat(), "data": data}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()
