"""A client of the API that is not surprised by anything."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from telemetry.clock import SystemClock
from telemetry.ids import new_id

#: Seconds that an answer may take: longer than a request waits for a Postgres that is silent.
_PATIENCE = 15.0
#: What asks to be asked again.
_BUSY = frozenset({429, 502, 503, 504})


class NoAnswer(Exception):
    """Nobody knows whether it was done; or the API says that it cannot be now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def is_good(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 300


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered: it leaves an event.

    Attributes:
        at: When the answer was here, in Unix seconds.
        what: Method, path and status.
    """

    at: float
    what: str


class Client:
    """Asks the API on a port of loopback.

    Attributes:
        answered: Every request that was, by its correlation id.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._clock = SystemClock()
        self.answered: dict[UUID, Answered] = {}

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request.

        Raises:
            NoAnswer: Ask again.
        """
        correlation_id = new_id(self._clock.unix_us())
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, _headers(correlation_id) | dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                json.loads(content) if content else None,
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(type(error).__name__) from error
        finally:
            connection.close()
        self.answered[correlation_id] = Answered(self._clock.unix_us() / 1e6, f"{method} {path} {answer.status}")
        if answer.status in _BUSY:
            raise NoAnswer(str(answer.status))
        return answer


def _headers(correlation_id: UUID) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Correlation-ID": str(correlation_id)}
