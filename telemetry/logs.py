"""Log lines: a console for people, one JSON object per line elsewhere, and never a user's content.

Write `log = structlog.get_logger(__name__)` and `log.info("execution_finished", slug=slug, steps=5)`: the event is a
name in the past tense, everything particular is a fact. What other libraries log through the standard library takes
the same shape.

A message of an exception may quote what a user wrote, so no line carries one: an exception is its class, its code and
its frames (`module:function:line`). For the same reason arguments of foreign messages are shown only when they are
numbers, and objects only as their class. What is passed as a fact by our own code is shown as it is: pass no content.
Ids of what caused a line are bound by `telemetry.correlation.bind`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import PurePath
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import structlog
from structlog.stdlib import ProcessorFormatter

from telemetry.clock import from_unix_us
from telemetry.errors import WeirError
from telemetry.privacy import class_name
from telemetry.settings import format_duration

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

#: Frames shown of one exception, innermost last.
MAX_FRAMES = 20

#: Exceptions shown of a chain of causes.
MAX_CAUSES = 5

#: Libraries whose news is not ours: only their warnings are logged.
TAMED = ("asyncio", "concurrent", "dramatiq", "gunicorn", "psycopg", "redis", "urllib3", "werkzeug")

_LEVEL_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_RESERVED = frozenset({"timestamp", "process", "level", "logger"})
_DEEPEST = 4


class LogStream(Protocol):
    """Where lines go: `sys.stderr`, or a text stream of the supervisor."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


def configure_logs(log_format: str, level: str, process: str, *, stream: LogStream | None = None) -> None:
    """Set up all logging of this process; calling it again (after a fork) replaces what was set up before.

    Uncaught exceptions, of threads too, become log lines as well.

    Args:
        log_format: `console`, `json`, or `auto`: console on a terminal.
        level: Least level that is logged: `debug`, `info`, `warning` or `error`.
        process: Name of the process, in every JSON line.
        stream: Where lines go; by default standard error.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    if log_format == "json" or (log_format == "auto" and not on_terminal):
        render: Processor = _JsonLine(process)
    else:
        render = _ConsoleLine(coloured=on_terminal and "NO_COLOR" not in os.environ)
    handler = _Handler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[_hide_arguments],
            processors=[structlog.contextvars.merge_contextvars, _add_origin, _reduce_exception, _make_plain, render],
            use_get_message=False,
            pass_foreign_args=True,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TAMED:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_crash
    sys.unraisablehook = _log_unraisable


def describe_exception(error: BaseException) -> dict[str, Any]:
    """What a log may say of an exception: class, stable code, frames, and the same of its causes; no message."""
    facts: dict[str, Any] = {"error_type": class_name(error)}
    code = _code_of(error)
    if code is not None:
        facts["error_code"] = code
    facts["error_frames"] = _frames_of(error)
    causes: list[str] = []
    cause = _cause_of(error)
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(" ".join([class_name(cause), *_frames_of(cause)[-1:]]))
        cause = _cause_of(cause)
    if causes:
        facts["error_causes"] = causes
    return facts


def _cause_of(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _code_of(error: BaseException) -> str | int | None:
    """A stable, content-free particular: our own code, the SQLSTATE, the errno."""
    if isinstance(error, WeirError):
        return error.code
    if isinstance(error, OSError):
        return error.errno
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate if isinstance(sqlstate, str) else None


def _frames_of(error: BaseException) -> list[str]:
    """Where it passed, libraries included, outermost first."""
    frames = [
        f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}:{line}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return frames[-MAX_FRAMES:]


class _Hidden:
    """Stands for an argument of a foreign message: only its class is shown."""

    def __init__(self, value: object) -> None:
        self._name = type(value).__name__

    def __str__(self) -> str:
        return f"<{self._name}>"

    __repr__ = __str__


def _hide(value: object) -> object:
    return value if isinstance(value, (int, float)) else _Hidden(value)


def _hide_arguments(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's contract
    """Fill the numbers into a foreign message; every other argument is shown as its class."""
    args = event.pop("positional_args", None)
    if not args:
        return event
    hidden = (
        {key: _hide(value) for key, value in args.items()} if isinstance(args, Mapping) else tuple(map(_hide, args))
    )
    try:
        event["event"] = event["event"] % hidden
    except (TypeError, ValueError, KeyError):
        event["event"] += " (its arguments do not fit)"
    return event


def _add_origin(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's contract
    """When, how loud, and from which logger, in the order of the line."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    event.pop("stack_info", None)
    stamp = from_unix_us(int(record.created * 1_000_000)).isoformat(timespec="milliseconds")
    return {
        "timestamp": stamp.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": event.pop("event"),
        "logger": record.name,
        **{f"{key}_" if key in _RESERVED else key: value for key, value in event.items()},
    }


def _reduce_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's contract
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event.update(describe_exception(error))
    return event


def _make_plain(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's contract
    return {str(key): _plain(value) for key, value in event.items()}


def _plain(value: object, depth: int = 0) -> object:  # noqa: PLR0911 - one return per kind of value
    """A JSON-able form that leaks no more than was given: unknown objects and exceptions are their class."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, (UUID, PurePath)):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [_plain(inner, depth + 1) for inner in value]
    return f"<{type(value).__qualname__}>"


class _JsonLine:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> str:  # noqa: ANN401 - structlog's contract
        return json.dumps({"timestamp": event.pop("timestamp"), "process": self._process, **event})


class _ConsoleLine:
    """`2026-11-20T18:42:01.123Z info     execution_finished slug=todo.add steps=5`."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> str:  # noqa: ANN401 - structlog's contract
        stamp, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
        event.pop("logger")
        shown = f"\x1b[{_LEVEL_COLOURS.get(level, '0')}m{level:<8}\x1b[0m" if self._coloured else f"{level:<8}"
        facts = " ".join(f"{key}={_quoted(value)}" for key, value in event.items())
        return f"{stamp} {shown} {_one_line(str(name))} {facts}".rstrip()


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: object) -> str:
    """A value on one line, quoted when it could be mistaken for something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value and value.isprintable() and not any(sign in value for sign in " =\"'")
    return value if plain else json.dumps(value, ensure_ascii=not value.isprintable())


class _Handler(logging.StreamHandler[LogStream]):
    """A stream handler whose own failures do not quote the record they failed on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        error = sys.exc_info()[1]
        if isinstance(error, (BrokenPipeError, ValueError)) or sys.stderr is None:
            return  # nobody reads this stream any more: there is nowhere to say it
        with suppress(OSError, ValueError):  # the same disk is full: whoever logs must not fail for it
            sys.stderr.write(f"log_line_failed logger={record.name} error_type={type(error).__qualname__}\n")


def _log_uncaught(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        structlog.get_logger(__name__).critical("process_crashed", exc_info=error)


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_type is SystemExit:
        return  # a thread's way to end itself
    name = crash.thread.name if crash.thread is not None else None
    structlog.get_logger(__name__).critical("thread_crashed", thread=name, exc_info=crash.exc_value)


def _log_unraisable(crash: sys.UnraisableHookArgs) -> None:
    structlog.get_logger(__name__).error("error_unraisable", exc_info=crash.exc_value)
