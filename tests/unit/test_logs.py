from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog

from telemetry.correlation import bind
from telemetry.errors import StreamUnavailable
from telemetry.logs import TAMED, configure_logs, describe_exception

SECRET = "CANARY-7f3a"


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Leave no trace in the process that runs the other tests."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    levels = {name: logging.getLogger(name).level for name in TAMED}
    yield
    root.handlers[:], level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    root.setLevel(level)
    for name, earlier in levels.items():
        logging.getLogger(name).setLevel(earlier)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def _logger() -> Any:  # noqa: ANN401 - structlog's own type
    return structlog.get_logger("weir.test")


def _json(stream: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return line


def test_a_json_line_has_time_process_level_event_and_facts(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)

    _logger().info("execution_finished", slug="todo.add", steps=5, at=Path("/x"), ids=[UUID(int=1)])

    line = _json(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "process": "worker",
        "level": "info",
        "event": "execution_finished",
        "logger": "weir.test",
        "slug": "todo.add",
        "steps": 5,
        "at": "/x",
        "ids": ["00000000-0000-0000-0000-000000000001"],
    }


def test_a_console_line_reads_as_one_line_whatever_its_facts(stream: io.StringIO) -> None:
    configure_logs("console", "info", "worker", stream=stream)

    _logger().info("things_happened", plain="a.b", spaced="a b", forged="x\n2026 error forged", nothing=None)

    (line,) = stream.getvalue().splitlines()
    assert line.split(" ", 1)[1] == (
        'info     things_happened plain=a.b spaced="a b" forged="x\\n2026 error forged" nothing=null'
    )


@pytest.mark.parametrize(("on_terminal", "expected"), [(True, False), (False, True)])
def test_auto_is_console_on_a_terminal_and_json_elsewhere(
    monkeypatch: pytest.MonkeyPatch, on_terminal: bool, expected: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: on_terminal)

    configure_logs("auto", "info", "worker", stream=stream)
    _logger().info("it_happened")

    assert stream.getvalue().startswith("{") is expected
    assert "\x1b" not in stream.getvalue()


def test_less_than_the_level_is_not_logged_and_libraries_only_warn(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)

    _logger().debug("too_quiet")
    logging.getLogger("dramatiq.worker").info("news of a library")
    assert stream.getvalue() == ""

    logging.getLogger("dramatiq.worker").warning("trouble")
    assert _json(stream)["logger"] == "dramatiq.worker"


def test_a_fact_cannot_pose_as_a_part_of_the_line(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)

    _logger().info("notified", level="warning", process="other")

    line = _json(stream)
    assert (line["level"], line["level_"], line["process"], line["process_"]) == ("info", "warning", "worker", "other")


@pytest.mark.req("C-05")
def test_bound_ids_are_on_our_lines_and_on_those_of_libraries(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)
    causing = UUID(int=7)

    with bind(correlation_id=causing, message_id="m-1"):
        _logger().info("it_happened")
        ours = _json(stream)
        logging.getLogger("psycopg.pool").warning("trouble")
        theirs = _json(stream)
    _logger().info("it_was_over")

    assert ours["correlation_id"] == theirs["correlation_id"] == str(causing)
    assert ours["message_id"] == "m-1"
    assert "correlation_id" not in _json(stream)


def _refuse() -> None:
    raise KeyError(SECRET)


def _fail() -> None:
    try:
        _refuse()
    except KeyError as error:
        raise ValueError(f"no such thing as {SECRET}") from error


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_an_exception_is_logged_as_class_frames_and_causes_never_its_message(
    stream: io.StringIO, log_format: str
) -> None:
    configure_logs(log_format, "info", "worker", stream=stream)

    try:
        _fail()
    except ValueError as error:
        _logger().exception("it_failed")
        _logger().error("it_failed", exc_info=error)
        _logger().error("it_failed", reason=error)
        logging.getLogger("library").exception("it failed with %s", SECRET)
        logging.getLogger("library").warning("it failed: %s and %r", error, SECRET, exc_info=error)

    text = stream.getvalue()
    assert SECRET not in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 5
    assert text.count("test_logs:_fail:") == 4
    assert text.count("ValueError") >= 5
    assert text.count("KeyError test_logs:_refuse:") == 4


def test_numbers_in_a_library_message_are_shown_and_everything_else_is_its_class(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)
    library = logging.getLogger("library")

    library.warning("%s failed %d times in %.1f s: %r", SECRET, 3, 0.25, {"a": SECRET})
    assert _json(stream)["event"] == "<str> failed 3 times in 0.2 s: <dict>"

    library.warning("%(who)s failed", {"who": SECRET})
    assert _json(stream)["event"] == "<str> failed"

    library.warning("failed %d times", SECRET)
    assert SECRET not in stream.getvalue()


def test_an_unknown_object_is_shown_as_its_class(stream: io.StringIO) -> None:
    class Row:
        def __repr__(self) -> str:
            return SECRET

    configure_logs("json", "info", "worker", stream=stream)
    _logger().info("row_read", row=Row(), rows={"first": [Row()]}, raw=SECRET.encode())

    line = _json(stream)
    assert SECRET not in stream.getvalue()
    assert line["row"].endswith("Row>")
    assert line["raw"] == "<bytes>"


def test_a_crashing_thread_is_logged_without_its_message(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)
    thread = threading.Thread(target=_fail, name="flusher")

    thread.start()
    thread.join()

    line = _json(stream)
    assert (line["event"], line["thread"], line["error_type"]) == ("thread_crashed", "flusher", "ValueError")
    assert SECRET not in stream.getvalue()


def test_an_uncaught_exception_is_logged_without_its_message(stream: io.StringIO) -> None:
    configure_logs("json", "info", "worker", stream=stream)
    error = ValueError(SECRET)

    sys.excepthook(ValueError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "process_crashed"
    assert SECRET not in line


def test_a_second_configuration_replaces_the_first(stream: io.StringIO) -> None:
    configure_logs("json", "info", "supervisor", stream=io.StringIO())
    _logger().info("it_happened")

    configure_logs("json", "info", "worker", stream=stream)
    _logger().info("it_happened")

    assert _json(stream)["process"] == "worker"
    assert len(stream.getvalue().splitlines()) == 1


def test_an_error_code_is_ours_or_the_system_s() -> None:
    assert describe_exception(StreamUnavailable("gone"))["error_code"] == "telemetry.stream_unavailable"
    assert describe_exception(FileNotFoundError(2, SECRET))["error_code"] == 2
    assert "error_code" not in describe_exception(ValueError(SECRET))


def test_a_line_that_cannot_be_written_says_so_without_quoting_it(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("json", "info", "worker", stream=stream)

    logging.getLogger("library").warning(Unprintable())

    assert "log_line_failed logger=library error_type=RuntimeError" in capsys.readouterr().err


def test_a_disk_that_is_full_is_no_error_of_who_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", buffering=1, encoding="utf-8")  # noqa: SIM115, PTH123 - closing it fails too
    monkeypatch.setattr(sys, "stderr", full)
    configure_logs("json", "info", "worker", stream=full)
    try:
        _logger().warning("something_happened")
    finally:
        with suppress(OSError):
            full.close()


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)
