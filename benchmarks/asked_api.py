"""The API in a process of its own, as the stack runs it; how long its answers take, and what memory it has."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from time import perf_counter

from benchmarks.processes import family, forget_peak, peak_rss_bytes, private_bytes, rss_bytes
from benchmarks.servers import BenchmarkFailed, Servers, running_service, wait_until

#: Seconds until an answer is given up; longer than any statement may run.
_PATIENCE_S = 30.0


class AskedApi:
    """An API that is asked.

    Args:
        port: Where it listens, on this machine.
        root: Its first process.
    """

    def __init__(self, port: int, root: int) -> None:
        self._port = port
        self._root = root

    def connection(self) -> closing[HTTPConnection]:
        """To ask over, one question after the other."""
        return closing(HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S))

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with self.connection() as connection:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False

    def memory(self) -> int:
        """Bytes that its processes have for themselves."""
        return sum(map(private_bytes, family(self._root)))

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        """How much its memory grows meanwhile, at the most."""
        pids = family(self._root)
        before = {pid: rss_bytes(pid) for pid in pids}
        for pid in pids:
            forget_peak(pid)
        peak = Peak()
        yield peak
        peak.bytes = max(peak_rss_bytes(pid) - before[pid] for pid in pids)


class Peak:
    """By how many bytes one of the processes grew, at the most; known at the end."""

    bytes = 0


def ask(connection: HTTPConnection, path: str, *, may_refuse: bool = False) -> float:
    """Milliseconds until the whole answer was here.

    Args:
        connection: To the API.
        path: With its parameters.
        may_refuse: Whether it may be too much.

    Raises:
        BenchmarkFailed: It was no answer.
    """
    begun = perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    took_ms = (perf_counter() - begun) * 1000
    is_refused = may_refuse and answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    if is_refused and json.loads(body)["code"] == "store.too_slow":
        return took_ms
    if answer.status != HTTPStatus.OK:
        raise BenchmarkFailed(f"the API answered {answer.status} to {path}: {body[:300]!r}")
    return took_ms


@contextmanager
def running_api(servers: Servers) -> Iterator[AskedApi]:
    """The API of these servers, with the settings that it comes with."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = int(taken.getsockname()[1])
    with running_service(servers, "api", "api", {"WEIR_API_PORT": str(port)}) as process:
        api = AskedApi(port, process.pid)
        wait_until(api.is_ready, "the API answers")
        yield api
