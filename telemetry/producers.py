"""What producers say with their batches, and what of it arrived: the account that completeness is proved by. Pure, but
for one statement.

Every event has a number in its producer's epoch. The sink writes down which numbers arrived in the transaction that
stores the events, so that what is not in the account is not in the store either, whoever is killed when. An account
does not depend on the order in which batches arrive, nor on how often.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Connection

from telemetry.batch import BatchHeader, BatchMalformed, Rung, decode_batch
from telemetry.clock import from_unix_us
from telemetry.sql import queries

SQL = queries(__file__)

_EPOCH_BYTES: Final = 16
#: Greatest number of an event, and greatest count of what was dropped: they are kept as bigint.
_LARGEST: Final = (1 << 63) - 1
#: The last instant of the year 9998: later ones have no `datetime` in every zone.
_LATEST_US: Final = 253_370_764_800_000_000 - 1
#: A producer's name, an event's type.
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
#: Types that one header may count.
_MOST_TYPES: Final = 1000

_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch as it came out of the stream.

    Attributes:
        entry_id: Its place in the stream: `1700000000000-0`.
        header: What its producer said with it.
        events: Each encoded by itself, numbered from `header.first`.
    """

    entry_id: bytes
    header: BatchHeader
    events: list[bytes]

    @property
    def end(self) -> int:
        """The number after its last event's."""
        return self.header.first + len(self.events)


def read_arrival(entry_id: bytes, data: bytes) -> Arrival:
    """The batch of an entry.

    Raises:
        BatchMalformed: It is none, or its header says what cannot be.
    """
    header, events = decode_batch(data)
    if not _is_plausible(header, len(events)):
        raise BatchMalformed("a header that cannot be")
    return Arrival(entry_id, header, events)


def _is_plausible(header: BatchHeader, events: int) -> bool:
    """Whether everything in it can be kept. What Postgres refused later would come again for ever."""
    return (
        len(header.epoch) == _EPOCH_BYTES
        and 1 <= header.first <= _LARGEST - events
        and 0 <= header.oldest_us <= _LATEST_US
        and _NAME.fullmatch(header.producer) is not None
        and len(header.dropped) <= _MOST_TYPES
        and all(_NAME.fullmatch(name) and 0 <= count <= _LARGEST for name, count in header.dropped.items())
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event comes from.

    Attributes:
        entry_id: The entry it was in.
        epoch: 16 bytes.
        number: In that epoch.
    """

    entry_id: bytes
    epoch: bytes
    number: int


class Origins:
    """Tells of the events of several arrivals, one after the other, where each comes from."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals = arrivals
        self._starts: list[int] = []
        events = 0
        for arrival in arrivals:
            self._starts.append(events)
            events += len(arrival.events)

    def of(self, position: int) -> Origin | None:
        """Of the event at this position, from 0; none if it did not come with a batch."""
        if not self._arrivals:
            return None
        # Batches without events share their start with the one that follows, which is the one meant.
        index = bisect_right(self._starts, position) - 1
        arrival = self._arrivals[index]
        return Origin(arrival.entry_id, arrival.header.epoch, arrival.header.first + position - self._starts[index])


@dataclass(slots=True)
class Account:
    """What a producer has said in some batches, and what came with them.

    Attributes:
        producer: Its name.
        seen: Numbers that arrived, as half-open ranges; they may overlap.
        given: The greatest number it has given.
        dropped: Events lost so far, by type: the greatest of each, for counts only grow.
        rung: How hard it was pressed, by the newest header.
        waits_since_us: `oldest_us` of the newest header.
        is_closed: Whether it has ended its epoch.
    """

    producer: str
    seen: list[tuple[int, int]] = field(default_factory=list)
    given: int = -1
    dropped: dict[str, int] = field(default_factory=dict)
    rung: Rung = "normal"
    waits_since_us: int = -1
    is_closed: bool = False

    def add(self, arrival: Arrival) -> None:
        """Take in one batch more.

        The newest header is that with the greatest number; of those that give none, that with the latest
        `oldest_us`, which only grows while nothing is numbered.
        """
        header, end = arrival.header, arrival.end
        if arrival.events:
            if self.seen and self.seen[-1][1] == header.first:
                self.seen[-1] = (self.seen[-1][0], end)
            else:
                self.seen.append((header.first, end))
        if (end - 1, header.oldest_us) >= (self.given, self.waits_since_us):
            self.given, self.waits_since_us, self.rung = end - 1, header.oldest_us, header.rung
        for event_type, count in header.dropped.items():
            self.dropped[event_type] = max(count, self.dropped.get(event_type, 0))
        self.is_closed = self.is_closed or header.is_last


def accounts_of(arrivals: Iterable[Arrival]) -> dict[bytes, Account]:
    """What these batches say, by epoch."""
    found: dict[bytes, Account] = {}
    for arrival in arrivals:
        epoch = arrival.header.epoch
        account = found.get(epoch)
        if account is None:
            account = found[epoch] = Account(arrival.header.producer)
        account.add(arrival)
    return found


def settle(connection: Connection[Any], arrivals: Sequence[Arrival]) -> None:
    """Write down what arrived. The last statement of the transaction that stores the events.

    Rows are locked in the order of epochs, and nothing is waited for while they are, so several sinks never wait for
    each other in a circle.
    """
    accounts = accounts_of(arrivals)
    if not accounts:
        return
    rows = sorted(accounts.items())
    connection.execute(
        SQL["settle"],
        {
            "epochs": [UUID(bytes=epoch) for epoch, _ in rows],
            "producers": [account.producer for _, account in rows],
            "seen": [_multirange(account.seen) for _, account in rows],
            "given": [account.given for _, account in rows],
            "dropped": [_json.encode(account.dropped).decode() for _, account in rows],
            "rungs": [account.rung for _, account in rows],
            "waits_since": [from_unix_us(account.waits_since_us) for _, account in rows],
            "closed": [account.is_closed for _, account in rows],
        },
    )


def settled(connection: Connection[Any], arrivals: Sequence[Arrival]) -> list[bool]:
    """Whether each of these arrived before: all its numbers are in the account, so all its events were dealt with.

    A batch without events never has, as far as anybody can tell.
    """
    found = connection.execute(
        SQL["settled"],
        {
            "epochs": [UUID(bytes=arrival.header.epoch) for arrival in arrivals],
            "firsts": [arrival.header.first for arrival in arrivals],
            "ends": [arrival.end for arrival in arrivals],
        },
    )
    return [is_settled for (is_settled,) in found]


def _multirange(ranges: Iterable[tuple[int, int]]) -> str:
    return "{" + ",".join(f"[{first},{end})" for first, end in ranges) + "}"
