"""What operations are handed by the application: its settings, and what the process holds."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Semaphore
from typing import cast

from flask import Flask, current_app

from api.settings import Settings
from workers.admission import Admission
from workers.resources import Resources

_KEY = "weir"


@dataclass(frozen=True, slots=True)
class Context:
    """What one application was made with.

    Attributes:
        settings: Complete.
        resources: What the process holds.
        admission: Says whether a lane takes a submission.
        waiters: One for each request that may be held back at a time.
    """

    settings: Settings
    resources: Resources
    waiters: Semaphore
    admission: Admission


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


def waiters() -> Semaphore:
    """To be acquired by a request that is held back."""
    return cast("Context", current_app.extensions[_KEY]).waiters
