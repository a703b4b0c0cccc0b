"""Events of all that goes on at once in a large installation, some of them late: many commands, users and spaces."""

from __future__ import annotations

from random import Random
from typing import Final, Literal

from telemetry.events import (
    ChatRequestCompleted,
    ChatRequestStarted,
    ErrorFacts,
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    ExecutionStarted,
    FragmentCreated,
    HttpRequestCompleted,
    Scope,
    StepExecuted,
    StepFailed,
)
from telemetry.ids import mint

#: Of each there are so many.
COMMANDS, USERS, SPACES = 40, 1000, 50
#: By how many minutes an event is late, at most.
LATEST_MINUTES: Final = 90

_MINUTE_US: Final = 60_000_000
#: Share of what may fail that does.
_FAILING: Final = 0.02
#: Events of other kinds come before steps, by turns of a die.
_FIRST_STEP: Final = 8
_STEPS: Final = ("transform", "fragment.create", "fragment.query", "http.request", "respond")
_ERROR: Final = ErrorFacts("StepFailed", "validation", b"\x01\x02\x03\x04\x05\x06\x07\x08")


class MixedLoad:
    """Gives one event after the other, of all kinds, none of which belong together.

    Args:
        late: Which share of them is late.
        seed: The same seed gives the same events but for their times and ids.
    """

    def __init__(self, late: float = 0.0, seed: int = 7) -> None:
        self._late = late
        self._chance = Random(seed)
        self._users = [self._chance.randbytes(16) for _ in range(USERS)]
        self._spaces = [mint(number * 1000, self._chance.getrandbits) for number in range(SPACES)]

    def events(self, count: int, now_us: int) -> list[Event]:
        """That many more events, of now, or of up to 90 minutes ago."""
        return [self._event(now_us) for _ in range(count)]

    def _event(self, now_us: int) -> Event:
        is_late = self._chance.random() < self._late
        ago_us = self._chance.randrange(_MINUTE_US, LATEST_MINUTES * _MINUTE_US) if is_late else 0
        return self.event(now_us - ago_us)

    def event(self, at_us: int) -> Event:
        """One more, of that moment."""
        chance, event_id = self._chance, mint(at_us)
        head, took_us = (event_id, at_us, self._scope(at_us)), int(chance.lognormvariate(8, 1.5))
        number, has_failed = chance.randrange(13), chance.random() < _FAILING
        made: Event
        if number >= _FIRST_STEP:
            path, kind = f"step-{number}", _STEPS[number - _FIRST_STEP]
            if has_failed:
                made = StepFailed(*head, path, kind, took_us, _ERROR)
            else:
                made = StepExecuted(*head, path, kind, took_us, measures={"rows": 3})
        elif number == 0:
            made = HttpRequestCompleted(*head, "/api/commands", "POST", 202, took_us, "succeeded")
        elif number == 1:
            made = ExecutionQueued(*head, 5)
        elif number == 2:
            made = ExecutionStarted(*head, took_us)
        elif number == 3 and has_failed:
            made = ExecutionFailed(*head, took_us, 2000, took_us, 5, 4, 1, 0, 0, "failed", _ERROR)
        elif number == 3:
            made = ExecutionCompleted(*head, took_us, 2000, took_us + 2000, 5, 5, 0, 0, 2)
        elif number == 4:
            made = ChatRequestStarted(*head, event_id)
        elif number == 5:
            tokens = (chance.randrange(4000), chance.randrange(800))
            cache: Literal["hit", "miss"] = "hit" if has_failed else "miss"
            made = ChatRequestCompleted(*head, event_id, "small", took_us, took_us // 4, took_us // 2, *tokens, cache)
        else:
            made = FragmentCreated(*head, event_id, "create")
        return made

    def _scope(self, at_us: int) -> Scope:
        chance = self._chance
        execution = mint(at_us)
        return Scope(
            execution,
            "api",
            self._users[int(chance.random() ** 2 * USERS)],
            self._spaces[int(chance.random() ** 2 * SPACES)],
            execution,
            None,
            f"command.{chance.randrange(COMMANDS)}",
            bytes(16),
            attempt=1,
        )
