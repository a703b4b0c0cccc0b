"""What goes wrong, and when: the same seed always means the same plan. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from chaos.proxy import CUTS

#: `kill` is SIGKILL. `stop` is SIGSTOP, and SIGCONT after a while. `fill` leaves no room on the disk, and
#: refuses the stream meanwhile, so that the disk is needed. The others cut a link (`chaos.proxy.Cut`).
Kind = Literal["kill", "stop", "fill", "refuse", "hang", "deaf", "reset"]

#: What `weir up` supervises.
SUPERVISED = ("api", "worker", "sink", "scheduler", "maintenance")
#: What the harness runs beside it, so that nothing is alone.
BESIDE = ("worker-2", "scheduler-2", "sink-2")
#: `valkey` is the queue's, `stream` the telemetry's own.
SERVERS = ("postgres", "valkey", "stream")
#: The servers, one of Postgres's backends, and everything that `weir up` runs, at once.
OTHERS = (*SERVERS, "backend", "supervisor")
#: Who is behind which link: what `weir up` runs, what the harness runs beside it.
LINKS = tuple(f"{server}-link{ending}" for ending in ("", "-2") for server in SERVERS)
#: Where recorders keep what the stream does not take; and all that a fault of it takes along.
DISK = "disk"
WITH_DISK = (DISK, "stream-link", "stream-link-2")

#: How often each combination is in the deck; those that are not named are there once.
_WEIGHTS = {
    ("kill", "worker"): 2,
    ("kill", "worker-2"): 4,
    ("stop", "worker-2"): 3,
    ("deaf", "postgres-link-2"): 2,
    ("kill", "sink"): 2,
    ("kill", "sink-2"): 2,
    ("fill", DISK): 3,
}
#: Names that have only one way to go wrong.
_ONLY_KILLED = frozenset({"supervisor", "backend", "maintenance"})


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at: Seconds after the beginning.
        kind: How.
        target: What.
        lasts: Seconds until it is put right: continued, mended, or, where the harness owns it, started again.
    """

    at: float
    kind: Kind
    target: str
    lasts: float


def make_plan(seed: int, seconds: float, *, lease: float, mean_gap: float, has_disk: bool = False) -> list[Fault]:
    """Faults in order of time. Every combination comes once before any comes twice; no target has two at once.

    Args:
        seed: Of chance.
        seconds: How long; nothing begins later, and everything lasts no longer.
        lease: Seconds of a worker's lease: what is stopped is stopped for less than it, or for up to three times as
            long.
        mean_gap: Mean seconds between two faults.
        has_disk: Whether there is a disk to fill.
    """
    chance = random.Random(f"plan/{seed}")
    deck = _decks(chance, combinations(has_disk=has_disk))
    held: list[tuple[Kind, str]] = []
    busy_until: dict[str, float] = {}
    plan: list[Fault] = []
    at = 0.0
    while (at := at + chance.uniform(0.2, 1.8) * mean_gap) < seconds:
        kind, target = _draw(deck, held, {name for name, until in busy_until.items() if until > at})
        lasts = round(min(_duration(chance, kind, target, lease), seconds - at), 3)
        busy_until.update(dict.fromkeys(touched(target), at + lasts))
        plan.append(Fault(round(at, 3), kind, target, lasts))
    return plan


def make_kills(seed: int, targets: Sequence[str], *, mean_gap: float) -> Iterator[Fault]:
    """Workers that are killed one after the other, without end."""
    chance = random.Random(f"kills/{seed}")
    at = 0.0
    while True:
        at += chance.uniform(0.2, 1.8) * mean_gap
        yield Fault(round(at, 3), "kill", chance.choice(targets), 0.0)


def combinations(*, has_disk: bool = False) -> list[tuple[Kind, str]]:
    """Everything that can go wrong; a disk can be full if there is one."""
    found: list[tuple[Kind, str]] = []
    for target in (*SUPERVISED, *BESIDE, *OTHERS):
        found.append(("kill", target))
        if target not in _ONLY_KILLED:
            found.append(("stop", target))
    found.extend((cut, link) for link in LINKS for cut in CUTS)
    if has_disk:
        found.append(("fill", DISK))
    return found


def touched(target: str) -> tuple[str, ...]:
    """What a fault of this target is a fault of."""
    return WITH_DISK if target == DISK else (target,)


def _decks(chance: random.Random, combined: Sequence[tuple[Kind, str]]) -> Iterator[tuple[Kind, str]]:
    cards = [card for card in combined for _ in range(_WEIGHTS.get(card, 1))]
    while True:
        chance.shuffle(cards)
        yield from cards


def _draw(deck: Iterator[tuple[Kind, str]], held: list[tuple[Kind, str]], busy: set[str]) -> tuple[Kind, str]:
    """The next card whose target has nothing else going on; those passed over come first the next time."""
    for number, card in enumerate(held):
        if busy.isdisjoint(touched(card[1])):
            return held.pop(number)
    for card in deck:
        if busy.isdisjoint(touched(card[1])):
            return card
        held.append(card)
    raise AssertionError("a deck without an end has ended")


def _duration(chance: random.Random, kind: Kind, target: str, lease: float) -> float:
    if kind == "reset" or (kind == "kill" and target not in SERVERS):
        return 0.0
    if kind == "kill":
        return chance.uniform(0.0, lease)
    return chance.choice((chance.uniform(0.05, 1.0), chance.uniform(1.2, 3.0))) * lease
