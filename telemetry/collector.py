"""For programs that report requests themselves: when one began, what became of it, how long which part of it took.

    request = collector.start_request(user="ada")
    ...
    collector.complete_request(request, model="small", model_time=timedelta(seconds=1), prompt_tokens=120)

Nothing here waits or raises: what is wrong is left out and counted. Events go the way of all others, so nothing that
the recorder took is lost, and their numbers are in every figure of requests.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Final, Literal, NewType
from uuid import UUID

from telemetry.clock import Clock
from telemetry.events import (
    Category,
    ChatRequestCompleted,
    ChatRequestFailed,
    ChatRequestStarted,
    ErrorFacts,
    Scope,
)
from telemetry.ids import mint
from telemetry.privacy import FINGERPRINT_BYTES, Pseudonyms, error_facts
from telemetry.recorder import Recorder
from telemetry.rows import MOST_TOKENS

RequestId = NewType("RequestId", UUID)
Cache = Literal["hit", "miss", "none"]

#: Requests that are open at the same time, at most; of more, the oldest is given up.
MAX_OPEN: Final = 10_000
#: What stands for the model where there was none.
NO_MODEL: Final = "none"

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Open:
    scope: Scope
    began_us: int


class Collector:
    """Takes what a program says of its requests. For several threads at once.

    Args:
        recorder: Takes the events.
        clock: Measures the whole of a request.
        pseudonyms: What stands for users.
        models: Registered names of language models; any other is told as a hash.
        max_open: Requests that are open at the same time.
    """

    def __init__(
        self,
        recorder: Recorder,
        clock: Clock,
        pseudonyms: Pseudonyms,
        models: Collection[str] = (),
        *,
        max_open: int = MAX_OPEN,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._pseudonyms = pseudonyms
        self._models = frozenset(models)
        self._max_open = max_open
        self._open: OrderedDict[RequestId, _Open] = OrderedDict()
        self._lock = Lock()
        self._faults: Counter[str] = Counter()

    def start_request(
        self, *, user: str | None = None, space_id: UUID | None = None, correlation_id: UUID | None = None
    ) -> RequestId:
        """A request has begun. Returns its id, by which it is completed or failed.

        Args:
            user: Who asked; kept as a pseudonym.
            space_id: Where.
            correlation_id: The trace it belongs to; its own unless given.
        """
        at_us = self._clock.unix_us()
        request_id = RequestId(UUID(bytes=mint(at_us)))
        scope = Scope(
            correlation_id=(correlation_id or request_id).bytes,
            request_source="chat",
            user_id=None if user is None else self._pseudonyms.user(user),
            space_id=None if space_id is None else space_id.bytes,
        )
        with self._lock:
            self._open[request_id] = _Open(scope, self._clock.monotonic_us())
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)
                self._faults["given_up"] += 1
        if self._recorder.enabled:
            self._recorder.record(ChatRequestStarted(mint(at_us), at_us, scope, request_id.bytes))
        return request_id

    def complete_request(  # noqa: PLR0913 - what may be said of a request
        self,
        request_id: RequestId,
        *,
        model: str | None = None,
        context_time: timedelta | None = None,
        model_time: timedelta | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        cache: Cache = "none",
    ) -> None:
        """A request was answered.

        Args:
            request_id: Of `start_request`. One that is not open is counted, and nothing else.
            model: That answered.
            context_time: How long what it was made from took to gather.
            model_time: How long the model took. If both together are longer than the request, neither is told.
            prompt_tokens: That the model was given, 0 or more; no more than two thousand million.
            completion_tokens: That it gave, likewise.
            cache: Whether the answer was there already.
        """
        ended = self._ended(request_id)
        if ended is None:
            return
        scope, at_us, duration_us = ended
        context_us, model_us = self._parts(context_time, model_time, duration_us)
        self._recorder.record(
            ChatRequestCompleted(
                mint(at_us),
                at_us,
                scope,
                request_id.bytes,
                self._name_of(model),
                duration_us,
                context_us,
                model_us,
                self._tokens(prompt_tokens),
                self._tokens(completion_tokens),
                cache,
            )
        )

    def record_error(
        self,
        request_id: RequestId,
        error: BaseException | Category,
        *,
        model: str | None = None,
        context_time: timedelta | None = None,
        model_time: timedelta | None = None,
    ) -> None:
        """A request was not answered: what went wrong, or which category that is of. Else as `complete_request`."""
        ended = self._ended(request_id)
        if ended is None:
            return
        scope, at_us, duration_us = ended
        context_us, model_us = self._parts(context_time, model_time, duration_us)
        self._recorder.record(
            ChatRequestFailed(
                mint(at_us),
                at_us,
                scope,
                request_id.bytes,
                self._name_of(model),
                duration_us,
                _facts(error),
                context_us,
                model_us,
            )
        )

    @property
    def faults(self) -> Mapping[str, int]:
        """What was wrong with what was said, by kind, and how often.

        `given_up`: too many were open; `not_open`: it had not begun, or has ended; `too_long`: its parts were longer
        than itself; `negative`: so was a number; `too_many`: more tokens than there can be; `unknown_model`: not a
        registered name.
        """
        with self._lock:
            return dict(self._faults)

    def _ended(self, request_id: RequestId) -> tuple[Scope, int, int] | None:
        """Scope, end and duration of a request that is open no longer; none if there is nothing to tell."""
        with self._lock:
            known = self._open.pop(request_id, None)
            if known is None:
                self._faults["not_open"] += 1
                return None
        if not self._recorder.enabled:
            return None
        return known.scope, self._clock.unix_us(), self._clock.monotonic_us() - known.began_us

    def _parts(
        self, context: timedelta | None, model: timedelta | None, duration_us: int
    ) -> tuple[int | None, int | None]:
        """Both in microseconds, if they can be parts of the whole."""
        context_us = None if context is None else context // _MICROSECOND
        model_us = None if model is None else model // _MICROSECOND
        if min(context_us or 0, model_us or 0) < 0:
            self._count("negative")
        elif (context_us or 0) + (model_us or 0) > duration_us:
            self._count("too_long")
        else:
            return context_us, model_us
        return None, None

    def _tokens(self, count: int | None) -> int | None:
        if count is not None and count < 0:
            self._count("negative")
            return None
        if count is not None and count > MOST_TOKENS:
            # It would not be stored, and the request with it.
            self._count("too_many")
            return None
        return count

    def _name_of(self, model: str | None) -> str:
        if model is None or model in self._models:
            return model or NO_MODEL
        self._count("unknown_model")
        return f"unknown:{hashlib.sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"

    def _count(self, fault: str) -> None:
        with self._lock:
            self._faults[fault] += 1


def _facts(error: BaseException | Category) -> ErrorFacts:
    if isinstance(error, BaseException):
        return error_facts(error)
    return ErrorFacts("reported", error, hashlib.sha256(error.encode()).digest()[:FINGERPRINT_BYTES])
