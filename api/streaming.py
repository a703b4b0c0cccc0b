"""Answers that are streams of events: their form, how many there may be, and whether anybody still listens.

The form is that of server-sent events (WHATWG HTML, § 9.2): fields, a line each, and a blank line.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from datetime import timedelta
from threading import Lock
from typing import Any

from api.problems import RETRY_AFTER_S, TooManyStreams

MEDIA_TYPE = "text/event-stream"

#: What keeps everything between us and the reader from holding events back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

#: How often something is said, if only that the stream is open.
HEARTBEAT = timedelta(seconds=15)

#: How long a reader may not take what it is sent; it can come back and go on.
SEND_TIMEOUT = timedelta(seconds=5)

#: When a reader that was cut off should come back.
RETRY = timedelta(seconds=1)
#: When a reader should come back that Postgres had no answer for.
AWAY = timedelta(seconds=RETRY_AFTER_S)


def event(name: str, data: bytes, event_id: object) -> bytes:
    """One event; `data` is a line."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), str(event_id).encode(), data)


def retry(after: timedelta = RETRY) -> bytes:
    """When to come back after the end."""
    return b"retry: %d\n\n" % (after // timedelta(milliseconds=1))


def heartbeat() -> bytes:
    """Nothing, said aloud."""
    return b": nothing new\n\n"


class Streams:
    """How many streams one process holds open.

    Args:
        limit: At a time.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = Lock()

    def open(self, environ: Mapping[str, Any]) -> OpenStream:
        """One more, for the request of that WSGI environment.

        Raises:
            TooManyStreams: There are as many as may be.
        """
        with self._lock:
            if not self._free:
                raise TooManyStreams(
                    "as many streams are open as one process may hold", hint="WEIR_API_STREAMS is how many."
                )
            self._free -= 1
        return OpenStream(self, environ.get("gunicorn.socket") or environ.get("werkzeug.socket"))

    def give_back(self) -> None:
        """One less."""
        with self._lock:
            self._free += 1


class OpenStream:
    """A stream that counts until it is closed.

    Args:
        streams: Where it counts.
        peer: Its reader's socket, if the server shows it.
    """

    def __init__(self, streams: Streams, peer: socket.socket | None) -> None:
        self._streams = streams
        self._peer = peer
        self._is_open = True
        if peer is not None:
            # For what is sent; the server sets it back before it reads the next request.
            peer.settimeout(SEND_TIMEOUT.total_seconds())

    def is_deserted(self) -> bool:
        """Whether the reader has gone. One that has ended its half of the connection counts as gone: none does."""
        if self._peer is None:
            return False
        look = select.poll()
        try:
            look.register(self._peer, select.POLLIN)
            return bool(look.poll(0)) and not self._peer.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """It has ended, however; idempotent."""
        if self._is_open:
            self._is_open = False
            self._streams.give_back()
