"""Who may run now, where that takes more than being the best due execution: keys, limits of lanes, paused commands.

A claim takes the best due execution of a lane at once, unless that needs a closer look. Then this module looks at it,
in one transaction:

1. its command is paused: it is parked, which takes it out of the claims' index, until the sweeper finds the pause over;
2. it has a key of concurrency: under the lock of that key the holders of its places are counted. All held: it is
   parked, until somebody gives a place back. Else it gets one, and is claimed like any other;
3. its lane has a limit: under the lock of the lane what runs there is counted before anything is claimed.

Whoever gives a place back (an end, a retry put off, a worker that was lost) wakes the best one that is parked for it,
in the same transaction; and so does every keyed execution that ends without ever having had a place, for it may be the
one that was woken. So as long as any is parked, as many as may be hold a place or are on their way to one: none is
forgotten, wherever a process is killed. What is parked costs claims nothing: nothing waits behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import class_row, scalar_row

from telemetry.sql import queries
from workers.errors import ConcurrencyFull

SQL = queries(__file__)

#: How far behind one that has to wait the next claims are spared others like it.
AHEAD = 100

#: Executions of commands that were paused which one transaction brings back.
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Head:
    """The execution that a claim would look at first."""

    id: UUID
    slug: str
    concurrency_key: str | None
    concurrency_max: int | None
    slot_held: bool
    is_paused: bool


def something_is_due(connection: Connection[Any], lane: str, worker_id: UUID) -> bool:
    """Whether a lane has anything left for a worker whose claim found nothing; not if the lane is paused."""
    return bool(_scalar(connection, "something_is_due", lane=lane, worker_id=worker_id))


def has_room(connection: Connection[Any], lane: str) -> bool:
    """Whether a lane may run one more, in a transaction: before its end nobody else learns that of a limited lane."""
    limit: int | None = _scalar(connection, "lane_limit", lane=lane)
    if limit is None:
        return True
    _scalar(connection, "lock_lane", lane=lane)
    running: int = _scalar(connection, "running_in_lane", lane=lane)
    return running < limit


def admit(connection: Connection[Any], lane: str) -> bool | None:
    """Look at the best due execution of a lane, in a transaction: whether it may be claimed now; none if there is none.

    One that may not is parked, together with others like it that would be next.
    """
    head = connection.cursor(row_factory=class_row(_Head)).execute(SQL["head"], {"lane": lane}).fetchone()
    if head is None:
        return None
    facts = {"id": head.id, "lane": lane, "slug": head.slug, "ahead": AHEAD}
    if head.is_paused:
        connection.execute(SQL["park_command"], facts)
        return False
    if head.concurrency_key is None or head.slot_held:
        return True
    key = {"slug": head.slug, "key": head.concurrency_key}
    _lock(connection, key)
    held: int = _scalar(connection, "held", **key, max=head.concurrency_max)
    if held >= (head.concurrency_max or 0):
        connection.execute(SQL["park_key"], {**facts, **key})
        return False
    connection.execute(SQL["take"], {"id": head.id})
    return True


def pass_on(connection: Connection[Any], keys: Iterable[tuple[str, str]]) -> set[str]:
    """Wake who waits for a place of each (slug, key), as the last thing of a transaction; the lanes to tell of it."""
    lanes: set[str] = set()
    for slug, key in sorted(keys):
        lanes.update(lane for (lane,) in wake_next(connection, slug, key))
    return lanes


def wake_next(connection: Connection[Any], slug: str, key: str) -> Cursor[Any]:
    """Wake who waits for a place of one key, as the last thing of a transaction; its lane, not read yet."""
    facts = {"slug": slug, "key": key}
    _lock(connection, facts)
    return connection.execute(SQL["wake_next"], facts)


def refuse_if_full(connection: Connection[Any], slug: str, key: str, most: int, others: int = 0) -> None:
    """Make sure that one more execution of a key may be accepted in this transaction.

    Args:
        connection: In the transaction.
        slug: Of the command.
        key: Rendered.
        most: How many may run at once.
        others: How many this transaction will accept besides.

    Raises:
        ConcurrencyFull: As many as may run have not ended.
    """
    facts = {"slug": slug, "key": key}
    _lock(connection, facts)
    accepted: int = others + _scalar(connection, "accepted", **facts, max=most)
    if accepted >= most:
        alike = " with this key" if key else ""
        raise ConcurrencyFull(
            f"{most} of {slug}{alike} may run at once, and {accepted} have not ended",
            hint=f"`weir executions list --command {slug}` shows them; send it again when one has ended.",
        )


def unpark_commands(connection: Connection[Any], limit: int = AT_ONCE) -> tuple[list[str], bool]:
    """Let executions of commands that are no longer paused be claimed; their lanes, and whether there may be more."""
    found = connection.execute(SQL["unpark_commands"], {"limit": limit}).fetchone()
    return found if found is not None else ([], False)


def _lock(connection: Connection[Any], key: Mapping[str, str]) -> None:
    connection.execute(SQL["lock_key"], key)


def _scalar(connection: Connection[Any], statement: str, **parameters: object) -> Any:  # noqa: ANN401 - any value
    return connection.cursor(row_factory=scalar_row).execute(SQL[statement], parameters).fetchone()
