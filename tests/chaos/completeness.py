"""What Weir itself says of what is stored: `weir telemetry verify`, as people and scripts use it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.stack import Stack

#: Seconds that the command may take.
_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `weir telemetry verify` says.

    Attributes:
        is_complete: Whether nothing is missing, or what was is made again.
        missing: Rows whose event is not stored, by kind.
        gone: Events that were dropped and have no row, by type: with some of these nothing is ever complete.
        unknown_tails: Producers of which nobody knows what they gave last.
    """

    is_complete: bool
    missing: Mapping[str, int]
    gone: Mapping[str, int] = field(default_factory=dict)
    unknown_tails: int = 0

    @property
    def is_final(self) -> bool:
        """Whether it will not get any better."""
        return self.is_complete or (bool(self.gone) and not self.missing)


def verify(stack: Stack) -> Verdict:
    """Ask it.

    Raises:
        ValueError: It did not answer with a verdict.
    """
    asked = stack.weir("telemetry", "verify", "--format", "json", within=_WITHIN)
    try:
        return _verdict(json.loads(asked.stdout))
    except (ValueError, KeyError, TypeError) as error:
        message = f"`weir telemetry verify` said ({asked.returncode}): {asked.stdout[:500]} {asked.stderr[:500]}"
        raise ValueError(message) from error


def _verdict(found: dict[str, Any]) -> Verdict:
    epochs = found["transport"]["epochs"]
    gone: Counter[str] = Counter()
    for epoch in epochs:
        gone.update({kind: count for kind, count in epoch["dropped"].items() if is_without_row(kind)})
    tails = sum(epoch["tail_unknown_after"] is not None for epoch in epochs)
    return Verdict(bool(found["complete"]), dict(found["ledger"]["missing"]), gone, tails)


def is_without_row(event_type: str) -> bool:
    """Whether events of a type have no row of the ledger."""
    return event_type in ("http.request.completed", "command.validation.failed") or event_type.startswith("telemetry.")
