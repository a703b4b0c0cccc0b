"""Storing what is in quarantine after all: after an upgrade, or when what Postgres refused is mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from telemetry.intake import Delivery, Intake
from telemetry.quarantine import drop, payloads

#: Rows that one call may name.
AT_ONCE = 1000

#: `not_kept`: the event is not kept, only its shape, or the row is gone; `not_understood`: this program does not know
#: it, or Postgres refuses it still; `outside`: no partition holds its day.
Obstacle = Literal["not_kept", "not_understood", "outside"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of rows of the quarantine.

    Attributes:
        stored: Those whose event is in the store now; they have left the quarantine.
        kept: Those that stay, and why.
    """

    stored: list[UUID]
    kept: dict[UUID, Obstacle]


def replay(connection: Connection[Any], intake: Intake, ids: Sequence[UUID]) -> Replayed:
    """Store the events of these rows, and take those rows out.

    In two transactions. Killed between them, the rows are still there; replayed again, their events are recognised.

    Args:
        connection: In autocommit mode.
        intake: The sink's own way of storing; it commits.
        ids: At most `AT_ONCE`.

    Raises:
        StoreUnavailable: Postgres did not answer; ask again.
    """
    held = payloads(connection, ids)
    tally = intake.store(Delivery([payload for _, payload in held], redelivered=True, with_quarantine=False))
    kept: dict[UUID, Obstacle] = dict.fromkeys(ids, "not_kept")
    stored = []
    for position, (row_id, _) in enumerate(held):
        if position in tally.misfits:
            kept[row_id] = "not_understood"
        elif position in tally.outside_at:
            kept[row_id] = "outside"
        else:
            del kept[row_id]
            stored.append(row_id)
    drop(connection, stored)
    return Replayed(stored, kept)
