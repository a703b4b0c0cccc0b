"""The whole stack of `weir up`, in a temporary home that goes away with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from api.cli.services import SERVICES
from benchmarks.servers import BenchmarkFailed, running_process, temporary_home, wait_until
from workers.home import Home
from workers.processes import find_server_user
from workers.stack.status import StackStatus, read_status


@contextmanager
def running_stack(commands: Mapping[str, str]) -> Iterator[StackStatus]:
    """`weir up` in a home of its own, with these command files."""
    with temporary_home() as home:
        home.prepare(find_server_user())
        for name, text in commands.items():
            (home.commands / name).write_text(text, encoding="utf-8")
        environment = {"WEIR_HOME": str(home.root)}
        with running_process(home, "up", ["-m", "api.cli", "up", "--port", "0"], environment):
            wait_until(lambda: _is_up(read_status(home.run)), "the stack is up")
            yield _status(home)


def _is_up(status: StackStatus | None) -> bool:
    if status is None or not status.is_healthy:
        return False
    return {process.name for process in status.processes} >= set(SERVICES)


def _status(home: Home) -> StackStatus:
    status = read_status(home.run)
    if status is None or status.pid is None:
        raise BenchmarkFailed("the stack went down")
    return status
