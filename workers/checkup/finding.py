"""What a look finds, how bad it is, and what may be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg import Connection

from telemetry.clock import Clock
from workers.settings import ServerSettings, WorkerSettings

Status = Literal["healthy", "warning", "critical", "unknown"]

#: From good to bad. What cannot be seen is worth a warning: something else that is looked at says why.
STATUSES: Final[tuple[Status, ...]] = ("healthy", "unknown", "warning", "critical")

#: What opens the next door: shown wherever nothing more exact is known.
SEE_STATUS: Final = "weir status"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is.

    Attributes:
        name: Of what was looked at.
        component: What it belongs to.
        status: `unknown`: it could not be looked at.
        detail: One sentence for people; never anything that a user wrote.
        value: What was measured, if it is a number.
        unit: Of it.
        fix: The command that mends it, or says more; none while it is healthy.
    """

    name: str
    component: str
    status: Status
    detail: str
    value: float | None = None
    unit: str | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What looks look at.

    Attributes:
        connection: To a migrated database, in autocommit mode and with a statement timeout; none if there is none.
        servers: Where things are.
        workers: Limits.
        clock: This machine's.
    """

    connection: Connection[Any] | None
    servers: ServerSettings
    workers: WorkerSettings
    clock: Clock

    @property
    def database(self) -> Connection[Any]:
        """The connection; asked for by looks that are not made without one."""
        if self.connection is None:
            raise RuntimeError("a look at the database without one")
        return self.connection


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: Of it.
        component: What it belongs to.
        look: Looks, within seconds; whatever the servers or the disk raise is for the caller to report.
        in_database: Whether it needs Postgres.
        fix: The command that mends it.
    """

    name: str
    component: str
    look: Callable[[Check, Surroundings], Iterable[Finding]]
    in_database: bool = True
    fix: str = SEE_STATUS

    def found(self, status: Status, detail: str, value: float | None = None, unit: str | None = None) -> Finding:
        """A finding of this check."""
        return Finding(
            self.name, self.component, status, detail, value, unit, None if status == "healthy" else self.fix
        )


def graded(value: float, warning: float, critical: float) -> Status:
    """How bad a value is: the limits are the first bad ones. Where less is worse, pass all three negated."""
    return "critical" if value >= critical else "warning" if value >= warning else "healthy"


def worst(findings: Iterable[Finding]) -> Status:
    """The status of all of them together; healthy if there are none."""
    healthy: Status = "healthy"
    status = max((finding.status for finding in findings), key=STATUSES.index, default=healthy)
    return "warning" if status == "unknown" else status
