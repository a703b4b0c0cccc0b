"""The log stream of a real stack: prefixes, floods, rotation, a reader that does not read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import selectors
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from fixtures.stack_program import FLOOD_LINES
from fixtures.stacks import RunningStack

from telemetry.clock import Clock, SystemClock, from_unix_us
from telemetry.testing import ManualClock
from workers.stack.lines import PrefixedLines
from workers.stack.log_file import LogFile, measure
from workers.stack.output import CONSOLE_BACKLOG_BYTES, READ_BYTES, Console, Output

StartStack = Callable[..., RunningStack]


def test_every_line_names_its_process_and_the_file_has_the_same_lines(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "idle", "maintenance": "idle"})
    stack.wait_ready()
    stack.stop()

    shown = [line for line in stack.lines if line != "everything runs" and not line.startswith("Stopping.")]
    assert all(re.match(r"(weir       |worker     |maintenance) \| ", line) for line in shown)
    assert (stack.home / "logs" / "weir.log").read_text().splitlines() == shown


def test_as_json_every_line_is_an_object_that_names_its_process(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "idle"}, servers=["valkey"], log_format="json")
    stack.read_until("idling")
    stack.stop()

    lines = [json.loads(line) for line in stack.lines]
    assert {line["process"] for line in lines} == {"weir", "valkey", "worker"}
    assert {"process": "worker", "event": "stopped as asked"}.items() <= next(
        line.items() for line in lines if line["event"] == "stopped as asked"
    )


@pytest.mark.req("S-16")
def test_a_flood_arrives_whole_and_the_files_stay_within_their_bounds(start_stack: StartStack) -> None:
    stack = start_stack(services={"worker": "flood"}, log_max_bytes=65_536, log_files=3)
    stack.read_until("flood over")
    stack.stop()

    flooded = [line for line in stack.lines if line.endswith("x" * 100)]
    assert len(flooded) == FLOOD_LINES
    files = sorted(path.name for path in (stack.home / "logs").iterdir())
    assert files == ["weir.log", "weir.log.1", "weir.log.2", "weir.log.3"]
    assert all(path.stat().st_size <= 65_536 for path in (stack.home / "logs").iterdir())
    newest = (stack.home / "logs" / "weir.log").read_text()
    assert newest.splitlines()[-1].endswith("stack_stopped")


def log_file(path: Path, *, clock: Clock | None = None, max_bytes: int = 65_536, max_files: int = 1) -> LogFile:
    return LogFile(
        path, max_bytes=max_bytes, max_files=max_files, max_age=timedelta(days=7), clock=clock or SystemClock()
    )


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path / "weir.log") as wire:
        yield wire


class Wire:
    """An `Output` between a process that floods and a console that nobody reads yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self._reader, self._console = os.pipe()
        file = log_file(path, max_bytes=10_000_000)
        self.output = Output(self.selector, file, PrefixedLines(6), Console(self._console, coloured=False))
        self.process = self.output.attach("worker")
        os.set_blocking(self.process, False)
        os.set_blocking(self._reader, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.output.close()
        self.selector.close()
        for descriptor in (self.process, self._reader, self._console):
            if descriptor >= 0:
                os.close(descriptor)

    def close_reader(self) -> None:
        os.close(self._reader)
        self._reader = -1

    def turn(self) -> None:
        for key, _ in self.selector.select(0):
            key.data()

    def flood(self) -> int:
        """Write until neither the process nor the supervisor gets on; how many bytes the process got rid of."""
        line, sent, idle = b"y" * 99 + b"\n", 0, 0
        while idle < 3:
            idle += 1
            with contextlib.suppress(BlockingIOError):
                sent += os.write(self.process, line * 100)
                idle = 0
            self.turn()
        return sent

    def read(self) -> bytes:
        """All that the console has, read to the end."""
        found = b""
        while True:
            self.turn()
            try:
                found += os.read(self._reader, 1_000_000)
            except BlockingIOError:
                return found


def test_while_nobody_reads_the_console_a_flooding_process_has_to_wait(wire: Wire) -> None:
    sent = wire.flood()

    # What may be under way: two pipes, one reading, and the backlog with its prefixes.
    assert sent < 3 * READ_BYTES + CONSOLE_BACKLOG_BYTES + READ_BYTES
    assert wire.flood() == 0


def test_what_waited_arrives_whole_once_the_console_is_read(wire: Wire) -> None:
    sent = wire.flood()

    shown = wire.read()

    assert shown.count(b"\n") == sent // 100
    assert shown == wire.path.read_bytes()
    assert wire.flood() > 0


def test_a_console_that_is_gone_does_not_stop_the_file(wire: Wire) -> None:
    wire.close_reader()
    for number in range(3):
        os.write(wire.process, b"line %d\n" % number)
        wire.turn()

    assert wire.path.read_text() == "worker | line 0\nworker | line 1\nworker | line 2\n"


def test_a_terminal_that_is_on_hold_does_not_hold_up_the_supervisor() -> None:
    terminal, ours = os.openpty()
    os.set_blocking(terminal, False)
    console = Console(ours, coloured=True)

    console.write(b"z" * 200_000)
    waiting = console.backlog
    shown = 0
    while console.backlog:
        shown += len(os.read(terminal, 65_536))
        console.flush()

    assert waiting > 100_000
    assert shown > 100_000
    assert os.get_blocking(ours), "others share the terminal, and its flags"
    console.close()
    os.close(terminal)
    os.close(ours)


@pytest.fixture
def little_room() -> Iterator[Callable[[int], None]]:
    """Limits the size of files that this process may write: like a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path: Path, little_room: Callable[[int], None]) -> None:
    path = tmp_path / "weir.log"
    file = log_file(path)
    file.write(b"first\n")

    little_room(6)
    file.write(b"second\n")
    file.write(b"third\nfourth\n")
    little_room(10_000)
    file.write(b"fifth\n")
    file.close()

    assert path.read_text() == "first\n(3 lines could not be written)\nfifth\n"


def test_while_no_file_can_be_made_older_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weir.log"
    file = log_file(path, max_bytes=10, max_files=5)
    for number in range(4):
        file.write(b"line %d...\n" % number)
    before = {each.name: each.read_text() for each in tmp_path.iterdir()}

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("workers.stack.log_file.os.open", refuse)
        for _ in range(10):
            file.write(b"lost\n")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == before

    file.write(b"line 4...\n")
    file.close()
    kept = [(tmp_path / f"weir.log.{number}").read_text() for number in range(4, 0, -1)]
    assert [kept[0], path.read_text().splitlines()[-1]] == ["line 0...\n", "line 4..."]


@pytest.mark.req("S-16")
def test_each_day_has_a_log_file_and_old_ones_go(tmp_path: Path) -> None:
    clock, path = ManualClock(SystemClock().now()), tmp_path / "weir.log"
    others = [tmp_path / name for name in ("weir.log.note", "weir.logs")]
    for other in others:
        other.write_text("not ours")
        os.utime(other, (0, 0))
    file = log_file(path, clock=clock, max_files=20)

    for day in range(12):
        file.write(b"day %d\n" % day)
        file.write(b"still day %d\n" % day)
        os.utime(path, ns=(clock.unix_us() * 1000, clock.unix_us() * 1000))
        clock.advance(timedelta(days=1))
    file.close()

    left = {each.name: each.read_text() for each in tmp_path.glob("weir.log*") if each not in others}
    assert left["weir.log"] == "day 11\nstill day 11\n"
    assert left["weir.log.1"] == "day 10\nstill day 10\n"
    assert set(left) == {"weir.log", *(f"weir.log.{number}" for number in range(1, 8))}
    assert all(other.exists() for other in others)

    reopened = log_file(path, clock=clock, max_files=2)
    reopened.write(b"day 12\n")
    reopened.close()

    assert (path.read_text(), (tmp_path / "weir.log.1").read_text()) == ("day 12\n", left["weir.log"])
    assert not (tmp_path / "weir.log.3").exists()


@pytest.mark.req("S-16")
def test_log_files_are_measured(tmp_path: Path) -> None:
    assert measure(tmp_path / "nowhere").files == 0
    (tmp_path / "weir.log").write_text("12345")
    (tmp_path / "weir.log.1").write_text("123")
    os.utime(tmp_path / "weir.log.1", (1_000_000, 1_000_000))

    found = measure(tmp_path)

    assert (found.files, found.bytes, found.oldest_at) == (2, 8, from_unix_us(1_000_000_000_000))
