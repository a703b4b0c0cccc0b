"""Events of a slice: whole requests, executions, conversations and due times, as many events as are asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from telemetry.components import STEP_TYPES
from telemetry.events import Event
from telemetry.samples import traces
from telemetry.samples.chance import Dice, Weighted
from telemetry.samples.plan import DAY_US, Slice
from telemetry.samples.shapes import CHAT, INCIDENTS, SCHEDULES, SPACES, USERS
from telemetry.samples.traces import Incident, World

Make: TypeAlias = Callable[[Dice, World, int], list[Event]]

#: Parts of Weir that have event types of their own.
_WITH_EVENTS: Final = ("command", "dsl", "fragment", "http", "schedule")
#: What can be asked for.
COMPONENTS: Final = (*_WITH_EVENTS, *STEP_TYPES, "chat")

#: How often one is drawn that does not fit any more into its slice or before its limit.
_TRIES: Final = 4
#: Rounds without any event after which a slice is taken to be too short.
_IN_VAIN: Final = 200
#: How much earlier it is tried the next time, at least, in microseconds.
_EARLIER_US: Final = 1_000_000


class Kind(NamedTuple):
    """Something that happens: how often, beside others, and which components it has events of."""

    make: Make
    weight: float
    components: frozenset[str]


_RUNS: Final = frozenset({"command", "dsl", "fragment", "tool", "llm"})
KINDS: Final = (
    Kind(traces.asked, 40, _RUNS | {"http"}),
    Kind(traces.conversation, 6, _RUNS - {"tool"} | {"http", "chat"}),
    Kind(traces.due, 6, _RUNS - {"tool"} | {"schedule"}),
    Kind(traces.read, 45, frozenset({"http"})),
    Kind(traces.refused, 1.5, frozenset({"command", "http"})),
    Kind(traces.edited, 1.5, frozenset({"fragment"})),
)


@dataclass(frozen=True, slots=True)
class Samples:
    """What is to be made, and of what.

    Attributes:
        seed: The same one makes the same events.
        components: Names out of `COMPONENTS`; events of others are left out.
        users: Pseudonyms of those who are there.
    """

    seed: int
    components: frozenset[str]
    users: Sequence[bytes]

    def events(self, part: Slice) -> Iterator[Event]:
        """The events of a slice, those of one trace together, traces in no order.

        As many as it counts; fewer only if it is so short that what is wanted does not fit into it.
        """
        dice, is_wanted = Dice(self.seed, part.number, part.spans[0].first_us, part.count), self._filter()
        world, left = self._world(part), part.count
        kinds = [kind for kind in KINDS if kind.components & self.components]
        drawn = Weighted(kinds, [kind.weight for kind in kinds])
        in_vain = 0
        while left and in_vain < _IN_VAIN:
            found: list[Event] = []
            for _ in range(_TRIES):
                events = _fitting(dice, world, drawn.draw(dice).make, part)
                found = (events if is_wanted is None else [event for event in events if is_wanted(event)]) or found
                if 0 < len(found) <= left:
                    break
            yield from found[:left]  # where nothing small is wanted, the last is cut off
            left -= len(found[:left])
            in_vain = 0 if found else in_vain + 1

    def _filter(self) -> Callable[[Event], bool] | None:
        """Whether an event is of the components; none if all are."""
        chosen = self.components
        if chosen >= {*COMPONENTS}:
            return None
        types = {step_type for name, step_type in STEP_TYPES.items() if name in chosen}

        def is_wanted(event: Event) -> bool:
            return (
                event.component in chosen
                or getattr(event, "step_type", None) in types
                or ("chat" in chosen and event.scope.command_slug == CHAT.slug)
            )

        return is_wanted

    def _world(self, part: Slice) -> World:
        first, last = part.spans[0].first_us // DAY_US, part.limit_us // DAY_US
        days = range(first, min(last, part.spans[-1].end_us // DAY_US + 1) + 1)
        return World(
            self.users,
            _ids(self.seed, "space", SPACES),
            _ids(self.seed, "schedule", SCHEDULES),
            tuple(chain.from_iterable(_incidents(self.seed, day) for day in days)),
        )


def _fitting(dice: Dice, world: World, make: Make, part: Slice) -> list[Event]:
    """What happens some time in the slice, and is over before its limit; if need be it began earlier."""
    spans = Weighted(part.spans, [span.weight for span in part.spans]) if len(part.spans) > 1 else None
    span = part.spans[0] if spans is None else spans.draw(dice)
    at_us = span.first_us + dice.below(span.end_us - span.first_us)
    for _ in range(_TRIES):
        events = make(dice, world, at_us)
        over_us = max(event.occurred_at_us for event in events) - part.limit_us
        if over_us < 0:
            return events
        at_us = max(part.spans[0].first_us, at_us - over_us - _EARLIER_US)
    return []


def _incidents(seed: int, day: int) -> Iterator[Incident]:
    """What goes wrong on a day: nothing, or up to three times."""
    dice = Dice(seed, "incidents", day)
    for _ in range(dice.below(4)):
        first_us = day * DAY_US + dice.below(DAY_US)
        length_us = dice.duration_us(12 * 60_000_000)
        yield Incident(first_us, first_us + length_us, INCIDENTS[dice.below(len(INCIDENTS))], dice.below(3))


def _ids(seed: int, what: str, count: int) -> tuple[bytes, ...]:
    return tuple(sha256(f"{seed} {what} {number}".encode()).digest()[:16] for number in range(count))


def user_names() -> list[str]:
    """Names of those who are there; their pseudonyms are the installation's."""
    return [f"sample-user-{number}" for number in range(1, USERS + 1)]
