"""The webhook: a signed POST to one address, which the settings name and nobody else.

Signed as Standard Webhooks has it (https://www.standardwebhooks.com): HMAC-SHA-256 over `id.timestamp.body`. The name
is resolved once, and the addresses that were looked at are connected to, so that it cannot lead elsewhere in between;
redirects are not followed; what is answered is not read beyond its status and headers, of which there may be a hundred.
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
from collections.abc import Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ClassVar, Final
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

from psycopg import Connection

from dsl.channels.channel import Message
from dsl.channels.errors import NOT_CONFIGURED, ChannelFailed, ChannelRefused
from dsl.channels.limit import Limit
from dsl.settings import ChannelSettings
from dsl.step import Effect
from telemetry.clock import Clock

_NAME: Final = "webhook"
_PREFIX: Final = "whsec_"
_OK, _REDIRECTS, _REFUSED = range(200, 300), range(300, 400), range(400, 500)
#: Of those that refuse: what may be otherwise later.
_LATER: Final = frozenset({408, 425, 429})
#: Not public, though `ipaddress` of Python 3.11 says so: for protocols (one cloud has its metadata there), local NAT64,
#: and what another cloud's virtual machines see of their host.
_OWN: Final = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "168.63.129.16/32")))
#: IPv6 addresses whose last four bytes are where they lead: compatible ones, and those of NAT64 (RFC 6052).
_OF_IPV4: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96")))

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Webhook:
    """Posts the message as JSON: `type`, `timestamp` and `data`."""

    effect: ClassVar = Effect.EXTERNAL

    def __init__(self, settings: ChannelSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        if self._settings.webhook_url is None:
            raise ChannelRefused(_NAME, NOT_CONFIGURED)
        parts = _split(self._settings.webhook_url)
        body = _body(message)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "weir",
            "webhook-id": str(message.key),
            # Of this attempt: a receiver refuses what was signed long ago, for somebody may send it again.
            "webhook-timestamp": str(self._clock.unix_us() // 1_000_000),
            **_login(parts),
        }
        if self._settings.webhook_secret is not None:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            headers["webhook-signature"] = signature(self._settings.webhook_secret, signed)
        with Limit(self._settings.webhook_timeout) as limit:
            addresses = resolve(str(parts.hostname), _port(parts), limit, private=self._settings.webhook_private)
            status = _post(parts, addresses, body, headers, limit)
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


def resolve(host: str, port: int, limit: Limit, *, private: bool) -> Sequence[str]:
    """The addresses to connect to, in order.

    Raises:
        ChannelFailed: There is none at the moment, or nobody says so in time.
        ChannelRefused: One of them is not public, and must be.
    """
    answers: SimpleQueue[Sequence[str]] = SimpleQueue()
    # In a thread of its own, for it cannot be told how long to wait; its own patience ends it.
    Thread(target=lambda: answers.put(_addresses(host, port)), name="weir resolve", daemon=True).start()
    try:
        found = answers.get(timeout=limit.left_s)
    except Empty:
        raise ChannelFailed(_NAME, "timeout") from None
    if not found:
        raise ChannelFailed(_NAME, "name_not_found")
    if not private and not all(map(is_public, found)):
        raise ChannelRefused(_NAME, "address_not_public")
    return found


def _addresses(host: str, port: int) -> Sequence[str]:
    """None if the name is not found."""
    try:
        return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return ()


def is_public(address: str) -> bool:
    """Whether an address leads out of this network, as far as an address can say."""
    ip = _inner(ipaddress.ip_address(address.partition("%")[0]))
    is_local = ip.is_multicast or ip.is_reserved or (ip.version == 6 and ip.is_site_local)  # noqa: PLR2004 - IPv6
    return ip.is_global and not is_local and not any(ip in network for network in _OWN if network.version == ip.version)


def _inner(ip: _Address) -> _Address:
    """Where an address leads in the end."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if any(ip in network for network in _OF_IPV4):
        return ipaddress.IPv4Address(ip.packed[-4:])
    return ip.ipv4_mapped or ip.sixtofour or ip


class _Fixed(http.client.HTTPConnection):
    """Connects to addresses that were looked at, whatever the name means by now."""

    def __init__(self, parts: SplitResult, addresses: Sequence[str], limit: Limit) -> None:
        super().__init__(str(parts.hostname), _port(parts), timeout=limit.left_s)
        self._addresses = addresses
        self._limit = limit
        self._is_secret = parts.scheme == "https"

    def connect(self) -> None:
        self.sock = self._reached()
        self._limit.hold(self.sock)
        if self._is_secret:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def _reached(self) -> socket.socket:
        """The first that answers."""
        *others, last = self._addresses
        for address in others:
            with suppress(OSError):
                return socket.create_connection((address, self.port), self._limit.left_s)
        return socket.create_connection((last, self.port), self._limit.left_s)


def _post(parts: SplitResult, addresses: Sequence[str], body: bytes, headers: dict[str, str], limit: Limit) -> int:
    """The status of the answer."""
    try:
        with closing(_Fixed(parts, addresses, limit)) as connection:
            connection.request("POST", _target(parts), body, headers)
            status = connection.getresponse().status
        # What was cut off by the limit reads like an answer.
        if not limit.is_over:
            return status
        reason = "timeout"
    except TimeoutError:
        reason = "timeout"
    except ssl.SSLCertVerificationError:
        reason = "certificate_not_trusted"
    except ConnectionRefusedError:
        reason = "connection_refused"
    except OSError:
        reason = "connection_lost"
    except http.client.HTTPException:
        reason = "answer_malformed"
    raise ChannelFailed(_NAME, "timeout" if limit.is_over else reason)


def _refusal(status: int) -> ChannelFailed:
    is_final = status in _REDIRECTS or (status in _REFUSED and status not in _LATER)
    return (ChannelRefused if is_final else ChannelFailed)(_NAME, f"status_{status}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        target = _target(parts)
        if parts.scheme in {"http", "https"} and parts.hostname and _port(parts) and _is_plain(target):
            return parts
    except ValueError:
        pass
    raise ChannelRefused(_NAME, "address_invalid")


def _target(parts: SplitResult) -> str:
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _is_plain(target: str) -> bool:
    """Whether it can stand in a request as it is."""
    return target.isascii() and target.isprintable() and " " not in target


def _login(parts: SplitResult) -> dict[str, str]:
    """What is before the `@` of an address, as HTTP says it."""
    if parts.username is None:
        return {}
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"}


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
