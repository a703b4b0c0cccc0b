"""What must begin anew in the child after a fork: threads, locks and connections of the parent are not the child's."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

import structlog

import telemetry.ids  # noqa: F401 - ids begin anew first: whatever else does may mint some

log = structlog.get_logger(__name__)


class Renewable(Protocol):
    """Something with state of its process."""

    def renew(self) -> None:
        """Forget all state, without touching the parent's threads, locks and connections."""
        ...


_renewables: WeakSet[Renewable] = WeakSet()


def renew_in_children(renewable: Renewable) -> None:
    """Have `renew` called in every process forked from now on, for as long as somebody else holds the object."""
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        try:
            renewable.renew()
        except Exception:
            # The others have to begin anew all the same.
            log.exception("not_renewed_after_fork", what=type(renewable).__name__)


os.register_at_fork(after_in_child=_renew_all)
