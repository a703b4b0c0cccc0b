"""Ledger rows on their way to Postgres: what a transaction writes of a run, as the JSON lists its statement takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dsl.step import Child, StepRow
from telemetry.clock import from_unix_us
from telemetry.ids import new_id
from workers.executions import Claim


@dataclass(slots=True)
class Batch:
    """Ledger rows of one transaction: step runs, the frozen lists of map steps (path, JSON text), awaited children."""

    rows: list[StepRow] = field(default_factory=list)
    frozen: list[tuple[str, str]] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.frozen or self.children)

    def __add__(self, later: Batch) -> Batch:
        """Both, in this order."""
        return Batch(self.rows + later.rows, self.frozen + later.frozen, self.children + later.children)

    def accepted(self) -> list[Child]:
        """Executions that are accepted with it: those that run on their own, and those that a step waits for."""
        return [*(child for row in self.rows for child in row.children), *self.children]


def rows_of(batch: Batch, claim: Claim) -> dict[str, str | None]:
    """The parameters `steps` and `mutations` of the statement `write`: JSON lists of columns, or none."""
    return {
        "steps": _json([_step(row) for row in batch.rows]),
        "mutations": _json([columns for row in batch.rows for columns in _mutations(row, claim)]),
    }


def lists_of(batch: Batch) -> str | None:
    """The parameter `lists` of the statement `freeze`: a JSON list, or none."""
    return _json([{"path": path, "items": msgspec.Raw(items.encode())} for path, items in batch.frozen])


def _json(rows: list[dict[str, Any]]) -> str | None:
    return msgspec.json.encode(rows).decode() if rows else None


def _step(row: StepRow) -> dict[str, Any]:
    facts = row.facts
    return {
        "path": row.path,
        "attempt": row.attempt,
        "step_try": row.step_try,
        "ordinal": row.ordinal,
        "step_type": row.step_type,
        "outcome": row.outcome,
        "occurred_at": from_unix_us(row.occurred_at_us),
        "duration_us": row.duration_us,
        "mutations_count": row.mutations_count,
        "fragment_id": row.fragment_id,
        "output": None if row.output is None else msgspec.Raw(row.output.encode()),
        "error": row.error,
        "error_type": None if facts is None else facts.error_type,
        "error_category": None if facts is None else facts.error_category,
        "error_fingerprint": None if facts is None else _bytea(facts.error_fingerprint),
        "measures": row.measures or None,
        "event_id": None if row.event_id is None else row.event_id.hex(),
    }


def _mutations(row: StepRow, claim: Claim) -> Iterator[dict[str, Any]]:
    for mutation, event in zip(row.mutations, row.mutation_events, strict=True):
        yield {
            "id": new_id(row.occurred_at_us),
            "step_path": row.path,
            "attempt": row.attempt,
            "correlation_id": claim.correlation_id,
            "entity": mutation.entity,
            "entity_id": mutation.entity_id,
            "operation": mutation.operation,
            "changed_fields": mutation.changed_fields,
            "rows_count": mutation.count,
            "before_hash": _bytea(mutation.before),
            "after_hash": _bytea(mutation.after),
            "dry_run": claim.dry_run,
            "occurred_at": from_unix_us(row.occurred_at_us),
            "event_id": None if event is None else event.event_id.hex(),
            "event_rows": None if event is None else event.rows,
        }


def _bytea(value: bytes | None) -> str | None:
    """As Postgres reads it from a text."""
    return None if value is None else "\\x" + value.hex()
