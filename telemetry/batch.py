"""Batches: when one is full, how events are cut into them, and how one is written into a stream entry. Pure: no I/O.

An entry is a msgpack array `[header, [event, ...]]`. Each event is a byte string of its own, already encoded, so that
one that cannot be read does not take its neighbours with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import Struct

#: Version of the entry's form (not of the events in it); another number is not read.
FORMAT = 1

#: The ladder of back-pressure, from its lowest rung.
Rung = Literal["normal", "spooling", "dropping"]

#: Later than anything occurs.
NEVER_US = (1 << 63) - 1


class BatchMalformed(ValueError):
    """An entry is not a batch of the form this program reads. Says why without quoting it."""


class BatchHeader(Struct, frozen=True, array_like=True):
    """What a producer says with every batch. A field may only be appended, with a default.

    Attributes:
        format: `FORMAT` of the producer.
        producer: Kind and process id: `worker-4711`. For people.
        epoch: 16 bytes, UUIDv7; a new one for every recorder and after every fork.
        oldest_us: Least `occurred_at_us` of what the producer still holds after this batch; if it holds nothing, the
            instant the batch was cut.
        dropped: Events lost in this epoch so far, by event type. They have no numbers.
        first: Number of the first event in this batch; numbers begin at 1 and go on over the epoch. Of a batch without
            events, the number that the next one will get.
        is_last: Whether the epoch ends with this batch.
        rung: How hard it is pressed: what it hands over waits in memory, on disk, or some of it is dropped.
    """

    format: int
    producer: str
    epoch: bytes
    oldest_us: int
    dropped: dict[str, int]
    first: int = 1
    is_last: bool = False
    rung: Rung = "normal"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is ready to go: any one of these suffices.

    Attributes:
        events: How many.
        size_bytes: How large, encoded.
        age_us: How long the first of it may wait, in microseconds.
    """

    events: int
    size_bytes: int
    age_us: int

    def are_reached(self, events: int, size_bytes: int, age_us: int) -> bool:
        """Whether a batch of this many events and bytes, opened this long ago, should go."""
        return events > 0 and (events >= self.events or size_bytes >= self.size_bytes or age_us >= self.age_us)

    def events_of(self, mean_bytes: int) -> int:
        """How many events of this mean size make a full batch; at least one."""
        return max(1, min(self.events, self.size_bytes // max(1, mean_bytes)))


@dataclass(slots=True)
class Batch:
    """Events on their way into one entry.

    Attributes:
        events: Each encoded by itself.
        size_bytes: Their sum.
        oldest_us: Least `occurred_at_us` among them; `NEVER_US` if none of them says.
    """

    events: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    oldest_us: int = NEVER_US

    def add(self, event: bytes) -> None:
        """Append one event."""
        self.oldest_us = min(self.oldest_us, _occurred_at_us(event))
        self.events.append(event)
        self.size_bytes += len(event)


class _Stamp(Struct, array_like=True):
    """How every encoded event begins; what follows is not looked at."""

    event_type: str
    event_id: bytes
    occurred_at_us: int


_stamp_of = msgspec.msgpack.Decoder(_Stamp).decode


def _occurred_at_us(event: bytes) -> int:
    """Read from the encoded event, so that while it waits nothing needs to be kept beside it."""
    try:
        return _stamp_of(event).occurred_at_us
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NEVER_US  # the sink counts it as malformed


def cut(events: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Cut encoded events into batches within `limits`, keeping their order.

    An event larger than `limits.size_bytes` travels alone.
    """
    batch = Batch()
    for event in events:
        full = len(batch.events) >= limits.events or batch.size_bytes + len(event) > limits.size_bytes
        if batch.events and full:
            yield batch
            batch = Batch()
        batch.add(event)
    if batch.events:
        yield batch


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[BatchHeader, list[bytes]])


def encode_batch(header: BatchHeader, events: list[bytes]) -> bytes:
    """The entry of a batch."""
    return _encoder.encode((header, events))


def decode_batch(entry: bytes) -> tuple[BatchHeader, list[bytes]]:
    """Header and encoded events of an entry.

    Raises:
        BatchMalformed: The entry is something else, or of another format.
    """
    try:
        header, events = _decoder.decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not chained: the decoder's message may quote the entry.
        raise BatchMalformed("not a batch") from None
    if header.format != FORMAT:
        raise BatchMalformed(f"format {header.format}")
    return header, events
