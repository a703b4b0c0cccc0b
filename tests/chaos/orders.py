"""What the load asks for, in which order: the same seed means the same orders. How many depends on the machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chaos.recipes import ALL, Recipe

#: Shares of orders that are sent once more after they were accepted, and of those that no API may accept.
_TWICE, _INVALID = 0.15, 0.03
#: Seconds until one is cancelled, at most, and the share of those that can be.
_CANCELLED_WITHIN, _CANCELLED = 1.5, 0.7


@dataclass(slots=True)
class Order:
    """One submission, and what became of it.

    Attributes:
        token: In all that its execution writes; its idempotency key too.
        is_valid: Whether it may be accepted.
        twice: Whether it is sent again once it was accepted.
        cancel_after: Seconds after it was accepted; none is not cancelled.
        cancelled_id: The execution that was asked to stop: its own, or that of its child.
        ids: Of every answer that accepted it; they must all be the same.
        refusals: Statuses of answers that refused it.
        replays: Answers that said that it had been accepted before.
        cancel_answers: Statuses of answers to its cancellation.
    """

    recipe: Recipe
    token: str
    is_valid: bool = True
    twice: bool = False
    cancel_after: float | None = None
    ids: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    replays: int = 0
    cancelled_id: str | None = None
    cancel_answers: list[int] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether its caller knows what became of it."""
        return bool(self.ids or self.refusals)


def stream(seed: int, recipes: Sequence[Recipe] = ALL) -> Iterator[Order]:
    """Orders without end.

    Args:
        seed: Of chance.
        recipes: Those with a weight are ordered.
    """
    chance = random.Random(f"load/{seed}")
    weighted = [recipe for recipe in recipes if recipe.weight]
    weights = [recipe.weight for recipe in weighted]
    number = 0
    while True:
        (recipe,) = chance.choices(weighted, weights)
        number += 1
        cancelled = recipe.cancelled is not None and chance.random() < _CANCELLED
        yield Order(
            recipe,
            f"{seed}-{number}",
            is_valid=chance.random() >= _INVALID,
            twice=chance.random() < _TWICE,
            cancel_after=chance.uniform(0.0, _CANCELLED_WITHIN) if cancelled else None,
        )
