"""A client of the REST API on the standard library alone: the command line starts in milliseconds because of it."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit

from telemetry.errors import WeirError

#: Largest page the API gives.
MAX_PAGE = 10_000

_ERROR_FROM = 400


class ApiUnreachable(WeirError):
    """Nobody answers at the API's address, or not in time."""

    code = "api.unreachable"
    retryable = True


class Unsendable(WeirError):
    """What the caller wants to send is not what JSON, or a URL, can hold."""

    code = "api.unsendable"


class ApiRefused(WeirError):
    """The API answered with a problem.

    Attributes:
        status: HTTP status.
        problem: The RFC 9457 body; empty when the answer was not one.
    """

    code = "api.refused"

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail") or problem.get("title") or f"the API answered with status {status}")
        super().__init__(detail, hint=problem.get("hint"))
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its JSON, and the header names in lower case."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Client:
    """Talks to one API over one connection that is kept; not for several threads at once.

    Args:
        url: Base URL, `http` or `https`; may have a path.
        api_key: Sent as a bearer token.
        timeout_s: How long connecting and each answer may take.
        hint: What to do when nobody answers there.

    Raises:
        ApiUnreachable: The URL cannot be one.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 10.0, hint: str | None = None
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise ApiUnreachable(
                f"{url!r} is not the URL of an API", hint="Expected something like http://127.0.0.1:7420"
            )
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._hint = hint
        self._base = parts.path.rstrip("/")
        self._new_connection = partial(_connection, kind, parts.hostname, port)
        self._connection = self._new_connection(timeout_s)
        self._headers = {"Accept": "application/json", "X-Weir-Source": "cli"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str, query: Mapping[str, object] | None = None, *, wait_s: int = 0) -> Any:  # noqa: ANN401 - any JSON
        """The body of `GET path`; parameters that are none are left out.

        Args:
            path: Below the base URL.
            query: Parameters.
            wait_s: Sent as `Prefer: wait`; the answer may take that much longer.

        Raises:
            ApiUnreachable: Nobody answered.
            ApiRefused: The answer was a problem.
        """
        given = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        return self._request("GET", target, None, _preference(wait_s), self._timeout_s + wait_s).body

    def post(self, path: str, body: object, *, headers: Mapping[str, str] | None = None, wait_s: int = 0) -> Answer:
        """The answer to `POST path`. Never sent twice: who lost the answer cannot know whether it counted.

        Args:
            path: Below the base URL.
            body: JSON-able.
            headers: Added to the usual ones.
            wait_s: Sent as `Prefer: wait`; the answer may take that much longer.

        Raises:
            ApiUnreachable: Nobody answered.
            ApiRefused: The answer was a problem.
        """
        extra = {"Content-Type": "application/json", **(headers or {}), **_preference(wait_s)}
        return self._request("POST", path, _encoded(body), extra, self._timeout_s + wait_s)

    def patch(self, path: str, body: object) -> Any:  # noqa: ANN401 - any JSON
        """The body of the answer to `PATCH path`. Raises as `post`."""
        extra = {"Content-Type": "application/json"}
        return self._request("PATCH", path, _encoded(body), extra, self._timeout_s).body

    def put(self, path: str, body: object) -> Any:  # noqa: ANN401 - any JSON
        """The body of the answer to `PUT path`. Raises as `post`."""
        return self._request("PUT", path, _encoded(body), {"Content-Type": "application/json"}, self._timeout_s).body

    def delete(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """The body of the answer to `DELETE path`. Raises as `get`."""
        return self._request("DELETE", path, None, {}, self._timeout_s).body

    def pages(self, path: str, query: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, {**query, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    @contextmanager
    def events(self, path: str, last_id: str | None = None, *, silence_s: float = 40.0) -> Iterator[Events]:
        """The events of a stream, on a connection of its own.

        Args:
            path: Below the base URL.
            last_id: `id` of the last event that was received, to go on after it.
            silence_s: How long it may say nothing, not even that it has nothing to say.

        Raises:
            ApiUnreachable: Nobody answered.
            ApiRefused: The answer was a problem.
        """
        connection = self._new_connection(self._timeout_s)
        headers = self._headers | {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with self._reaching(self._timeout_s):
                connection.request("GET", self._base + path, headers=headers)
                peer = connection.sock  # which the response may take for itself
                response = connection.getresponse()
                if response.status >= _ERROR_FROM:
                    parsed = _parsed(response.read())
                    raise ApiRefused(response.status, parsed if isinstance(parsed, dict) else {})
            yield Events(peer, response, silence_s)
        finally:
            connection.close()

    @contextmanager
    def _reaching(self, timeout_s: float) -> Iterator[None]:
        """Turns what can go wrong on the way into `ApiUnreachable`."""
        try:
            yield
        except TimeoutError as error:
            raise ApiUnreachable(f"{self.url} did not answer within {timeout_s:g} s", hint=self._hint) from error
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnreachable(f"nothing answers at {self.url}", hint=self._hint) from error

    def _request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        connection = self._connection
        connection.timeout = timeout_s
        if connection.sock is not None:
            # A kept connection with something to read, before anything was asked, was closed by the server.
            if select.select([connection.sock], [], [], 0)[0]:
                connection.close()
            else:
                connection.sock.settimeout(timeout_s)
        try:
            with self._reaching(timeout_s):
                return self._exchange(method, target, body, headers)
        except ApiUnreachable:
            connection.close()
            raise

    def _exchange(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        try:
            self._connection.request(method, self._base + target, body, {**self._headers, **headers})
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read everything (a body that is too large), and closed: hear it out.
            if self._connection.sock is None:
                raise
        response = self._connection.getresponse()
        text = response.read()
        parsed = _parsed(text)
        if response.status >= _ERROR_FROM:
            raise ApiRefused(response.status, parsed if isinstance(parsed, dict) else {})
        if parsed is None:
            raise ApiUnreachable(f"what answers at {self.url} is not Weir's API", hint=self._hint)
        return Answer(response.status, parsed, {name.lower(): value for name, value in response.getheaders()})


class Event(NamedTuple):
    """One event of a stream.

    Attributes:
        name: What it is.
        id: To go on after it; empty if it has none.
        data: JSON.
    """

    name: str
    id: str
    data: Any


class Events:
    """The events of one answer, until it ends or is cut off: who wants more asks again, with the last id.

    Attributes:
        retry_s: When to ask again.
        is_over: Whether there will never be more.
    """

    def __init__(self, peer: socket.socket, response: http.client.HTTPResponse, silence_s: float) -> None:
        self.retry_s = 1.0
        self.is_over = response.status == HTTPStatus.NO_CONTENT
        self._socket = peer
        self._response = response
        self._silence_s = silence_s

    def until(self, deadline: float) -> Iterator[Event]:
        """Events, until that instant of the monotonic clock at the latest."""
        fields: dict[str, str] = {}
        while (line := self._line(deadline)) is not None:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif not line:
                if fields.get("retry", "").isdecimal():
                    self.retry_s = int(fields["retry"]) / 1000
                if "data" in fields:
                    yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
                fields = {}

    def _line(self, deadline: float) -> str | None:
        """The next line; none at the end, however it came."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return None
        try:
            self._socket.settimeout(min(left_s, self._silence_s))
            line = self._response.readline()
        except (OSError, http.client.HTTPException):
            return None
        # A line that was cut off is none.
        return line.decode().rstrip("\n") if line.endswith(b"\n") else None


def _connection(
    kind: type[http.client.HTTPConnection], host: str, port: int | None, timeout_s: float
) -> http.client.HTTPConnection:
    return kind(host, port, timeout=timeout_s)


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unsendable(
            "what was given cannot be sent as JSON", hint="JSON has no NaN, no infinity and no broken characters."
        ) from error


def segment(text: str) -> str:
    """A text as one segment of a path.

    Raises:
        Unsendable: It is empty, or holds half of a character.
    """
    if not text:
        raise Unsendable("an id or name was expected, and nothing was given")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise Unsendable("what was given is not text that a URL can hold") from error


def _preference(wait_s: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_s}"} if wait_s else {}


def _parsed(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except ValueError:
        return None
