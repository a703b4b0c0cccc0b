"""How a process without HTTP says how it is: on a Unix socket, when asked, and not before.

A question is a connection, the answer one JSON object: what was looked at, and `ok` or what is wrong with it; and
figures, which are numbers and never wrong. A thread answers, so a process that is stopped, or gone, does not: whoever
asks has patience for a few seconds. What the thread looks at includes the loop that does the work
(`workers.readiness`), or it would vouch for a loop that hangs.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TypeAlias

from telemetry.errors import WeirError

log = logging.getLogger(__name__)  # structlog takes longer to import than to ask

#: How long whoever asks waits.
PATIENCE = timedelta(seconds=3)
#: How long a stopping process waits for an answer in the making.
_STOP_PATIENCE_S = 1.0
#: Why a question may not be taken just now: too many open files, no memory, or whoever asked is gone.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED})
#: How long until the next is.
_PAUSE_S = 0.1
#: Questions that may wait.
_BACKLOG = 8

#: How a state begins that needs somebody's eye, and keeps the process from nothing.
WARNING = "warning: "

#: What was looked at, by name: `ok`, a warning, or what is wrong.
Checks: TypeAlias = Mapping[str, str]
#: An answer: checks, and figures that the process tells along with them.
Answer: TypeAlias = Mapping[str, str | int]


class HealthUnknown(WeirError):
    """Nobody answers for a process."""

    code = "health.unknown"


class HealthTaken(WeirError):
    """Another process answers there already, or nothing can be opened there."""

    code = "health.taken"


def is_well(checks: Checks) -> bool:
    """Whether nothing keeps the process from its work."""
    return all(state == "ok" or state.startswith(WARNING) for state in checks.values())


@contextmanager
def answering(folder: Path | None, name: str, look: Callable[[], Answer]) -> Iterator[None]:
    """Answer for this process meanwhile.

    Args:
        folder: Of the socket, made if need be; without one nobody is answered.
        name: Of the process; one process of a name has the folder's socket.
        look: Called at each question, in a thread of its own.

    Raises:
        HealthTaken: The socket cannot be opened.
    """
    if folder is None:
        yield
        return
    path = _path(folder, name)
    with _open(path) as listener:
        thread = Thread(target=_answer_all, args=(listener, look), name="weir-health", daemon=True)
        thread.start()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(_STOP_PATIENCE_S)


def ask(folder: Path, name: str, patience: timedelta = PATIENCE) -> Answer:
    """What a process says of itself.

    Raises:
        HealthUnknown: It does not answer: it was not started, has ended, or stands still.
    """
    path = _path(folder, name)
    try:
        with _connect(path, patience) as connection, connection.makefile("rb") as answer:
            said: Answer = json.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise HealthUnknown(
            f"no {name} answers at {path}", hint="It has not started, or has ended.", process=name
        ) from error
    except (OSError, ValueError) as error:
        raise HealthUnknown(
            f"the {name} at {path} gave no answer within {patience.total_seconds():g} s",
            hint="It is there and stands still, or a server it asks does.",
            process=name,
        ) from error
    return said


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.sock"


def _connect(path: Path, patience: timedelta) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(patience.total_seconds())
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: Path) -> socket.socket:
    """Listen in the place of a process that ended without a word, but not in that of one that runs."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_free(path)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise HealthTaken(
            f"cannot listen at {path}: {reason}", hint="Set WEIR_HEALTH_DIR to a folder of your own, with a short path."
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _require_free(path: Path) -> None:
    with suppress(TimeoutError):  # somebody is there and stands still
        try:
            _connect(path, PATIENCE).close()
        except (FileNotFoundError, ConnectionRefusedError):
            return
    raise HealthTaken(
        f"another process listens at {path}", hint="Give each process of a name a WEIR_HEALTH_DIR of its own."
    )


def _answer_all(listener: socket.socket, look: Callable[[], Answer]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno not in _PASSING:  # closed: the process ends
                return
            time.sleep(_PAUSE_S)
            continue
        with connection, suppress(OSError):  # whoever asked may have lost patience
            connection.sendall(json.dumps(_look(look)).encode())


def _look(look: Callable[[], Answer]) -> Answer:
    try:
        return dict(look())
    except Exception as error:
        log.exception("health_not_seen")
        return {"health": f"cannot be seen ({type(error).__name__}, process {os.getpid()})"}
