"""Stopping a run that is going on: asked between two steps, interrupted inside one, in the end by killing its process.

An interrupt is an exception that another thread raises in the run's thread (`PyThreadState_SetAsyncExc`). It is sent
only while the run is inside a step's own code, and has arrived before the run leaves it: no ledger, lock or pool ever
meets it. A statement on its way to Postgres is cancelled there.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

import psycopg
import structlog
from psycopg import Connection
from psycopg.pq import TransactionStatus

from dsl.errors import OuterTimedOut, StepInterrupted, StepTimedOut, Stopped, Suspended
from telemetry.clock import Clock

log = structlog.get_logger(__name__)

#: Why a run is stopped: somebody cancelled it, it took too long, one of its steps did, or its worker stops.
Reason: TypeAlias = Literal["cancelled", "timed_out", "step_timed_out", "worker_stopped"]

#: Milliseconds that an interrupt may take to arrive.
_ON_ITS_WAY = 50

_MICROSECOND = timedelta(microseconds=1)


class _Interrupt(KeyboardInterrupt):
    """Raised in the thread of a run, inside a step.

    It may arrive while a statement is being sent. Of a Ctrl-C psycopg knows that the server goes on with that one, and
    cancels it; after anything else the statement, and the locks it holds, would outlast its run.
    """


class _Outer(NamedTuple):
    """A step that has steps inside and a `timeout`."""

    path: str
    deadline_us: int


def _raise_in(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(_Interrupt))


class RunControl:
    """The `dsl.step.Control` of one attempt.

    Args:
        clock: Monotonic differences.
        timeout: Running time that is left to it.
        hurry: Called when there is a new deadline.
    """

    def __init__(
        self, clock: Clock, timeout: timedelta | None = None, hurry: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._hurry = hurry
        self._thread_id = threading.get_ident()
        self._connection: Connection[Any] | None = None
        self._is_inside = self._is_sending = self._is_sent = self._is_interrupted = False
        self._asked: Reason | None = None
        self.run_deadline_us = None if timeout is None else clock.monotonic_us() + timeout // _MICROSECOND
        self.step_deadline_us: int | None = None
        self._path = ""
        self._begun_us = 0
        # Of the steps around this one, that which has to end first.
        self._outer: _Outer | None = None

    @property
    def asked(self) -> Reason | None:
        """Why it is to stop, if it is."""
        return self._asked

    @property
    def deadline_us(self) -> int | None:
        """The next moment at which it has taken too long; monotonic."""
        outer = self._outer
        outer_us = None if outer is None else outer.deadline_us
        return min(
            (at for at in (self.run_deadline_us, self.step_deadline_us, outer_us) if at is not None), default=None
        )

    def ask(self, reason: Reason) -> None:
        """Let it stop before its next step. The first reason stands, except that a step's own may give way."""
        if self._asked in (None, "step_timed_out"):
            self._asked = reason

    def overdue(self, now_us: int) -> Reason | None:
        """What has taken too long by now."""
        if self.run_deadline_us is not None and now_us >= self.run_deadline_us:
            return "timed_out"
        if self.step_deadline_us is not None and now_us >= self.step_deadline_us:
            return "step_timed_out"
        if (outer := self._outer) is not None and now_us >= outer.deadline_us:
            return "step_timed_out"
        return None

    def withdraw(self) -> None:
        """No step is overdue: one that was has ended by itself meanwhile."""
        if self._asked == "step_timed_out":
            self._asked = None

    def forgive(self) -> None:
        """Let what comes after a time-out have its time."""
        self.run_deadline_us = None
        if self._asked == "timed_out":
            self._asked = None

    def interrupt(self) -> None:
        """If the run is inside a step: cancel the statement it waits for, or else raise in its thread. Never raises."""
        self._is_sending = True
        try:
            connection = self._connection
            if not self._is_inside or self._is_sent:
                return
            # The run leaves this step only after the sending, so that what is overdue now cannot be a step before it.
            if self._asked == "step_timed_out" and self.overdue(self._clock.monotonic_us()) is None:
                return
            self._is_interrupted = True
            if connection is not None and connection.info.transaction_status == TransactionStatus.ACTIVE:
                connection.cancel_safe(timeout=1)
            else:
                self._is_sent = True
                _raise_in(self._thread_id)
        except psycopg.Error as error:
            log.warning("statement_not_cancelled", reason=type(error).__name__)
        finally:
            self._is_sending = False

    def before_step(self, path: str) -> None:
        """Stop here if that was asked for, or if the step around it has no time left; else its own begins."""
        if self._asked == "worker_stopped":
            raise Suspended("worker_stopped")
        if self._asked == "cancelled" or self._asked == "timed_out":  # noqa: PLR1714 - what mypy narrows by
            raise Stopped(self._asked, "cooperatively")
        self._path = path
        self._begun_us = self._clock.monotonic_us()
        if self._outer is not None and self._begun_us >= self._outer.deadline_us:
            raise OuterTimedOut(self._outer.path, path)

    @contextmanager
    def within(self, timeout: timedelta | None) -> Iterator[None]:
        """Around the steps inside the step that was begun last.

        Raises:
            StepTimedOut: They took longer than `timeout`.
        """
        if timeout is None:
            yield
            return
        around, mine = self._outer, _Outer(self._path, self._begun_us + timeout // _MICROSECOND)
        if around is None or mine.deadline_us < around.deadline_us:
            self._outer = mine
            self._hurry()
        try:
            yield
        except OuterTimedOut as error:
            if error.path != mine.path:
                raise
            raise StepTimedOut(f"{_too_long(timeout)}; it was at {error.inside}") from error
        finally:
            self._outer = around

    @contextmanager
    def running(self, timeout: timedelta | None, connection: Connection[Any] | None) -> Iterator[None]:
        """Around a step's own code.

        Raises:
            StepTimedOut: It took longer than `timeout`.
            OuterTimedOut: A step around it did.
            StepInterrupted: The run has to stop.
            Suspended: Its worker has to.
        """
        if timeout is not None or self._outer is not None:
            self._begin(timeout)
        self._connection = connection
        try:
            self._is_inside = True
            yield
            self._is_inside = False
        except _Interrupt:
            self._is_sent = False
        except Exception:
            if not self._is_interrupted:
                raise
            # Else it is what the cancelled statement, or the step's own clean-up, made of the interrupt.
        finally:
            self._leave()
        if self._is_interrupted:
            self._is_interrupted = False
            self._raise(timeout)

    def _begin(self, timeout: timedelta | None) -> None:
        """Set the step's own deadline, unless it, or that of a step around it, has passed already."""
        deadline_us = self._deadline_of(timeout)
        outer_us = None if self._outer is None else self._outer.deadline_us
        now_us = self._clock.monotonic_us()
        if any(at is not None and now_us >= at for at in (deadline_us, outer_us)):
            raise self._timed_out(timeout)
        if deadline_us is not None:
            self.step_deadline_us = deadline_us
            self._hurry()

    def _deadline_of(self, timeout: timedelta | None) -> int | None:
        return None if timeout is None else self._begun_us + timeout // _MICROSECOND

    def _timed_out(self, timeout: timedelta | None) -> StepTimedOut | OuterTimedOut:
        """Which ran out of time first: the step, or one around it."""
        outer, deadline_us = self._outer, self._deadline_of(timeout)
        if outer is not None and (deadline_us is None or outer.deadline_us < deadline_us):
            return OuterTimedOut(outer.path, self._path)
        return StepTimedOut(_too_long(timeout))

    def _leave(self) -> None:
        """No interrupt is sent any more; one that is on its way has arrived when this returns."""
        try:
            self._is_inside = False
            while self._is_sending:
                time.sleep(0)
            # It arrives before the next few bytecodes; unless the step has swallowed it.
            for _ in range(_ON_ITS_WAY):
                if not self._is_sent:
                    break
                time.sleep(0.001)
        except _Interrupt:
            self._is_inside = False
        self._is_sent = False
        self._connection = None
        self.step_deadline_us = None

    def _raise(self, timeout: timedelta | None) -> None:
        if self._asked == "cancelled":
            raise StepInterrupted("interrupted: the execution was cancelled", "cancelled")
        if self._asked == "worker_stopped":
            raise Suspended("worker_stopped")
        if self._asked == "timed_out":
            raise StepInterrupted("interrupted: the command took too long", "timed_out")
        self._asked = None
        raise self._timed_out(timeout)


def _too_long(timeout: timedelta | None) -> str:
    seconds = 0 if timeout is None else timeout.total_seconds()
    return f"the step took longer than its timeout of {seconds:g} s"
