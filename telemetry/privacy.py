"""What may stand for people, content and errors in telemetry: keyed hashes, class names and places in our code.

The keyed hashes are HMAC-SHA-256 truncated to 16 bytes (RFC 2104 § 5: not less than half the hash). Without the key
nobody can tell whose pseudonym one is, not even by hashing every name they know.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib.metadata import entry_points
from types import CodeType
from typing import get_args

from telemetry.events import Category, ErrorFacts

#: Bytes of a pseudonym or a content hash.
HASH_BYTES = 16

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
#: Bytes of an error's fingerprint: it tells errors apart, it protects nothing.
FINGERPRINT_BYTES = 8
#: A longer class name is not one that somebody wrote.
MAX_CLASS_NAME = 100
#: Frames of an exception that are looked at, innermost last: enough to tell errors apart, also in a recursion.
MAX_FRAMES = 50

#: How SQLSTATE begins when the server was lost, shuts down, or takes no more connections.
CONNECTION_LOST = ("08", "57P", "53300")

#: The module whose frames lie between a step and what is around it.
_RUNS_STEPS = "dsl.executor"

_CATEGORIES = frozenset(get_args(Category))

#: Category by class, as `module.name`; the nearest base class that is listed decides. Names instead of classes, so that
#: reading an error imports no driver that the process does not use anyway.
_CATEGORY_OF: dict[str, Category] = {
    "builtins.TimeoutError": "timeout",
    "psycopg_pool.PoolTimeout": "timeout",
    "psycopg.errors.QueryCanceled": "timeout",
    "psycopg.errors.LockNotAvailable": "timeout",
    "redis.exceptions.TimeoutError": "timeout",
    "builtins.ConnectionError": "network",
    "socket.gaierror": "network",
    "ssl.SSLError": "network",
    "redis.exceptions.ConnectionError": "network",
    "redis.exceptions.RedisError": "server",
    "psycopg.DataError": "validation",
    "psycopg.IntegrityError": "validation",
    "psycopg.Error": "server",
    "pydantic_core._pydantic_core.ValidationError": "validation",
    "msgspec.ValidationError": "validation",
    "jsonschema_rs.ValidationError": "validation",
    "telemetry.errors.TelemetryError": "server",
}


class Pseudonyms:
    """Keyed hashes of one installation.

    Args:
        key: The installation's secret, any length but 0; the same in every process, or filters by user find nothing.
    """

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("the pseudonym key is empty")
        # A key of its own for each use: the hash of a name never equals the hash of a content.
        self._user_key = hmac.digest(key, b"weir.user", "sha256")
        self._content_key = hmac.digest(key, b"weir.content", "sha256")
        #: What telemetry knows a user by: 16 bytes. Users are few, and each event is somebody's.
        self.user: Callable[[str], bytes] = lru_cache(maxsize=1000)(self._user)

    def _user(self, name: str) -> bytes:
        return hmac.digest(self._user_key, name.encode("utf-8", "surrogatepass"), "sha256")[:HASH_BYTES]

    def content(self, value: object) -> bytes:
        """Keyed hash, 16 bytes, of a JSON-able value; equal values have equal hashes, whatever the order of keys.

        Raises:
            TypeError: The value is not JSON-able.
        """
        canonical = _CANONICAL.encode(value)
        return hmac.digest(self._content_key, canonical.encode("ascii"), "sha256")[:HASH_BYTES]


def error_facts(exception: BaseException) -> ErrorFacts:
    """What telemetry may know of an exception: its class, category and fingerprint; never its message."""
    return ErrorFacts(class_name(exception), category(exception), fingerprint(exception))


def class_name(exception: BaseException) -> str:
    """The name of the exception's class, if it stands in a program; else `other`."""
    cls = type(exception)
    name = cls.__name__
    is_name = len(name) <= MAX_CLASS_NAME and name.isascii() and name.isidentifier()
    return name if is_name and _is_written(cls) else "other"


def _is_written(cls: type) -> bool:
    """Whether somebody wrote the class down: it is in its module under its name, or was defined in a function.

    Not so one that was made of a text, which could be anybody's.
    """
    if "<locals>" in cls.__qualname__:
        return True
    found: object = sys.modules.get(str(getattr(cls, "__module__", "")))
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def category(exception: BaseException) -> Category:
    """Which of the six categories: what the exception says of itself, else by its class, else `internal`."""
    own = getattr(exception, "category", None)
    if isinstance(own, str) and own in _CATEGORIES:
        return own  # type: ignore[return-value]  # just looked up in the literal's values
    if _is_lost_connection(exception):
        return "network"
    for base in type(exception).__mro__:
        found = _CATEGORY_OF.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
    return "internal"


def _is_lost_connection(exception: BaseException) -> bool:
    """Whether Postgres was not reached: psycopg's OperationalError with no SQLSTATE or one that says so."""
    bases = {f"{base.__module__}.{base.__qualname__}" for base in type(exception).__mro__}
    if "psycopg.OperationalError" not in bases or "psycopg_pool.PoolTimeout" in bases:
        return False
    sqlstate = getattr(exception, "sqlstate", None)
    return sqlstate is None or str(sqlstate).startswith(CONNECTION_LOST)


def fingerprint(exception: BaseException) -> bytes:
    """8 bytes that are the same for the same error from the same places of our code.

    A place is counted from the first line of its function, so that an edit elsewhere in the file, or a new release,
    does not make an old error look new. What ran the step does not count: the same error of the same step is the same
    at the top of a command and deep inside a map, when it is raised and when it has passed through what was around it.
    """
    passed = _in_app(exception)
    runs = [number for number, (module, _, _) in enumerate(passed[:-1]) if module == _RUNS_STEPS]
    places = [
        f"{module}:{code.co_qualname}:{line - code.co_firstlineno}"
        for module, code, line in passed[runs[-1] + 1 if runs else 0 :]
    ]
    text = "\n".join([class_name(exception), *places])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:FINGERPRINT_BYTES]


def frames(exception: BaseException) -> list[str]:
    """Where in our code it passed, outermost first: `module:function:line`, at most 50."""
    return [f"{module}:{code.co_qualname}:{line}" for module, code, line in _in_app(exception)]


def _in_app(exception: BaseException) -> list[tuple[str, CodeType, int]]:
    """Module, code and line of the last `MAX_FRAMES` frames that are in our own packages."""
    packages = in_app_packages()
    found = [place for place in _places(exception) if place[0].partition(".")[0] in packages]
    return found[-MAX_FRAMES:]


def _places(exception: BaseException) -> Iterator[tuple[str, CodeType, int]]:
    traceback = exception.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        yield str(frame.f_globals.get("__name__", "")), frame.f_code, traceback.tb_lineno or 0
        traceback = traceback.tb_next


@cache
def in_app_packages() -> frozenset[str]:
    """Top-level packages whose frames are shown: ours, and those of installed step types. Looked up once."""
    steps = {point.module.partition(".")[0] for point in entry_points(group="weir.steps")}
    return frozenset({"api", "workers", "dsl", "telemetry"} | steps)
