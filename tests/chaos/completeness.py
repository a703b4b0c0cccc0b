"""What Weir itself says of what is stored: `weir telemetry verify`, as people and scripts use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaos.stack import Stack

#: TO BE REMOVED with all that asks it, once recorders spool, events are made again from their rows, and `weir telemetry
#: verify` is there: until then rows whose event is lost are printed, and are no difference.
LOSSES_ARE_EXPECTED: Final = True

#: Seconds that the command may take.
_WITHIN = 120.0
#: How click says that there is no such command.
_USAGE = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `weir telemetry verify` says.

    Attributes:
        is_complete: Whether nothing is missing.
        missing: Rows whose event is not stored, by kind.
    """

    is_complete: bool
    missing: Mapping[str, int]


def verify(stack: Stack) -> Verdict | None:
    """Ask it; None where there is no such command.

    Raises:
        ValueError: It did not answer with a verdict.
    """
    asked = stack.weir("telemetry", "verify", "--format", "json", within=_WITHIN)
    if asked.returncode == _USAGE and "No such command" in asked.stderr:
        return None
    try:
        found: dict[str, Any] = json.loads(asked.stdout)
        return Verdict(bool(found["complete"]), dict(found["ledger"]["missing"]))
    except (ValueError, KeyError, TypeError) as error:
        message = f"`weir telemetry verify` said ({asked.returncode}): {asked.stdout[:500]} {asked.stderr[:500]}"
        raise ValueError(message) from error
