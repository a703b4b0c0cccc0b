"""What operations are handed by the application: its settings, and what the process holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Semaphore
from typing import Any, cast

from flask import Flask, current_app
from psycopg import Connection

from api.problems import TooManyQuestions
from api.settings import Settings
from api.streaming import Streams
from telemetry.live.feed import LiveFeed
from telemetry.query_cache import QueryCache
from telemetry.reading import reading as read_only
from workers.admission import Admission
from workers.executions import reaching_store
from workers.progress import Progress
from workers.resources import Resources

_KEY = "weir"

#: How long a question to telemetry waits for those before it. Longer, and they would take every thread there is.
READER_PATIENCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Context:
    """What one application was made with.

    Attributes:
        settings: Complete.
        resources: What the process holds.
        waiters: One for each request that may be held back at a time.
        streams: One for each stream that may be open at a time.
        progress: News of executions, for streams.
        admission: Says whether a lane takes a submission.
        answers: Keeps answers to costly queries.
        readers: One for each question to telemetry that is answered at a time.
        live: Tells of requests as they end.
    """

    settings: Settings
    resources: Resources
    waiters: Semaphore
    streams: Streams
    progress: Progress
    admission: Admission
    answers: QueryCache
    readers: Semaphore
    live: LiveFeed


def give(app: Flask, context: Context) -> None:
    """Hand it to every operation of the application."""
    app.extensions[_KEY] = context


def settings() -> Settings:
    """The settings of the application that serves the current request."""
    return cast("Context", current_app.extensions[_KEY]).settings


def resources() -> Resources:
    """What the application that serves the current request holds."""
    return cast("Context", current_app.extensions[_KEY]).resources


def admission() -> Admission:
    """Asked before anything that somebody outside submits is accepted."""
    return cast("Context", current_app.extensions[_KEY]).admission


def answers() -> QueryCache:
    """Where answers to costly queries are kept."""
    return cast("Context", current_app.extensions[_KEY]).answers


@contextmanager
def reading() -> Iterator[Connection[Any]]:
    """A connection that reads events, in one view of the database, and cannot write.

    Raises:
        TooManyQuestions: As many are read as may be at a time: a burst of slow ones leaves connections for the rest.
    """
    timeout = min(settings().telemetry.query_timeout, settings().api.statement_timeout)
    with reader(), reaching_store(), read_only(resources().pool, timeout) as connection:
        yield connection


@contextmanager
def reader() -> Iterator[None]:
    """One of the questions to telemetry that are answered at a time. Raises as `reading`."""
    readers = cast("Context", current_app.extensions[_KEY]).readers
    if not readers.acquire(timeout=READER_PATIENCE.total_seconds()):
        raise TooManyQuestions("as many questions are being answered as this process takes at a time")
    try:
        yield
    finally:
        readers.release()


def streams() -> Streams:
    """To be opened one of, by a request that is answered with events."""
    return cast("Context", current_app.extensions[_KEY]).streams


def progress() -> Progress:
    """News of executions, as long as the process serves."""
    return cast("Context", current_app.extensions[_KEY]).progress


def live() -> LiveFeed:
    """Figures of requests as they end, as long as the process serves."""
    return cast("Context", current_app.extensions[_KEY]).live


def end_streams(app: Flask) -> None:
    """Have every stream of the application end at once."""
    held = cast("Context", app.extensions[_KEY])
    held.progress.end()
    held.live.end()


def waiters() -> Semaphore:
    """To be acquired by a request that is held back."""
    return cast("Context", current_app.extensions[_KEY]).waiters
