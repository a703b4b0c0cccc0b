"""The peers' processes: their workers, and a driver each that is asked to measure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.servers import CHECKOUT, BenchmarkFailed, Servers, running_process
from benchmarks.throughput import WORKERS
from telemetry.connections import connect

_DBOS, _CELERY, _OTEL = "benchmarks.peers.dbos", "benchmarks.peers.celery", "benchmarks.peers.otel"
_SPACE = "insert into spaces (id, name) values (gen_random_uuid(), 'bench')"
_STOP_S = 30


class Driver:
    """Asks a driver, one thing after another; see `benchmarks.peers.answering`."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name = name
        self._process = process
        self._answer()

    def rate(self, measure: str, count: int) -> float:
        """So many a second, `count` in all.

        Raises:
            BenchmarkFailed: It could not be measured.
        """
        return float(self._ask(measure, count))

    def latencies(self, count: int) -> list[float]:
        """Milliseconds each.

        Raises:
            BenchmarkFailed: They could not be measured.
        """
        return [float(value) for value in self._ask("latency", count)]

    def costs(self, count: int) -> tuple[float, float]:
        """Microseconds of each thing that is recorded, of `count`: on the caller, and of CPU in all threads.

        Raises:
            BenchmarkFailed: They could not be measured.
        """
        caller_us, cpu_us = self._ask("record", count)
        return float(caller_us), float(cpu_us)

    def _ask(self, measure: str, count: int) -> Any:  # noqa: ANN401 - JSON
        _pipe(self._process.stdin).write(json.dumps({"measure": measure, "count": count}) + "\n")
        _pipe(self._process.stdin).flush()
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401 - JSON
        line = _pipe(self._process.stdout).readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise BenchmarkFailed(f"the driver of {self._name}: {answer['error']}")
        return answer["value"]


@contextmanager
def running_dbos(servers: Servers, python: Path) -> Iterator[Driver]:
    """Processes of DBOS on a database of their own, which has Weir's tables too."""
    url = servers.new_database("dbos")
    with connect(url, name="weir benchmarks", autocommit=True) as connection:
        connection.execute(_SPACE)
    with ExitStack() as stack:
        for number in range(WORKERS):
            arguments = ["-m", f"{_DBOS}_worker", url, f"dbos-{number}"]
            stack.enter_context(running_process(servers.home, f"dbos-{number}", arguments, {}, str(python)))
        arguments = ["-m", f"{_DBOS}_driver", url, str(WORKERS)]
        yield Driver("DBOS", stack.enter_context(_running_driver(servers, "dbos", python, arguments, {})))


@contextmanager
def running_celery(servers: Servers, python: Path) -> Iterator[Driver]:
    """Celery's prefork pool, as it comes, with as many processes, on a logical database of their own."""
    environment = {"BENCH_REDIS_URL": servers.logical_redis(2)}
    arguments = [
        "-m",
        "celery",
        "-A",
        f"{_CELERY}_app",
        "worker",
        "--concurrency",
        str(WORKERS),
        "--loglevel",
        "WARNING",
    ]
    with (
        running_process(servers.home, "celery", arguments, environment, str(python)),
        _running_driver(servers, "celery", python, ["-m", f"{_CELERY}_driver"], environment) as process,
    ):
        yield Driver("Celery", process)


@contextmanager
def running_opentelemetry(servers: Servers, python: Path) -> Iterator[Driver]:
    """OpenTelemetry's SDK in a process of its own, which exports to another."""
    with _running_driver(servers, "opentelemetry", python, ["-m", f"{_OTEL}_driver"], {}) as process:
        yield Driver("OpenTelemetry", process)


@contextmanager
def _running_driver(
    servers: Servers, name: str, python: Path, arguments: list[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Ends when its stdin does, also if this process is killed."""
    with (servers.home.root.parent / f"{name}-driver.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - ours
            [python, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=servers.home.root.parent,
            env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", **environment},
        )
    try:
        yield process
    finally:
        _pipe(process.stdin).close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise BenchmarkFailed("a driver has no pipe")
    return pipe
