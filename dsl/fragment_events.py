"""The events of fragment changes: one each, up to a bound; past it, one per operation that stands for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dsl.step import Mutation, MutationEvent
from telemetry.events import Event, FragmentCreated, FragmentDeleted, FragmentUpdated, Scope
from telemetry.ids import mint

#: Fragment events that one step, or one import, may cause before summaries stand for them.
MAX_FRAGMENT_EVENTS = 100

_TYPES: dict[str, type[FragmentCreated | FragmentUpdated | FragmentDeleted]] = {
    "created": FragmentCreated,
    "updated": FragmentUpdated,
    "deleted": FragmentDeleted,
}


def mint_events(mutations: Sequence[Mutation], occurred_at_us: int) -> tuple[MutationEvent | None, ...]:
    """For each mutation its event, if it has one: those of fragments do, or the first of each operation for all."""
    if not mutations:
        return ()
    fragments: Counter[str] = Counter()
    for mutation in mutations:
        if mutation.entity == "fragment":
            fragments[mutation.operation] += mutation.count
    if fragments.total() <= MAX_FRAGMENT_EVENTS:
        return tuple(
            MutationEvent(mint(occurred_at_us), mutation.count) if mutation.entity == "fragment" else None
            for mutation in mutations
        )
    events: list[MutationEvent | None] = []
    for mutation in mutations:
        stands_for = fragments.pop(mutation.operation, 0) if mutation.entity == "fragment" else 0
        events.append(MutationEvent(mint(occurred_at_us), stands_for) if stands_for else None)
    return tuple(events)


def fragment_event(
    scope: Scope, mutation: Mutation, event: MutationEvent, occurred_at_us: int, step_path: str | None = None
) -> Event:
    """The event that a mutation's row asks for; a summary names no fragment."""
    is_one = event.rows == 1 and mutation.entity_id is not None
    fragment_id = mutation.entity_id.bytes if is_one and mutation.entity_id is not None else None
    return _TYPES[mutation.operation](event.event_id, occurred_at_us, scope, fragment_id, step_path, event.rows)
