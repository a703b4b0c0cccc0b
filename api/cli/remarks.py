"""What of executions and events needs a sentence beside the drawing: what was slow, and what did not validate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from api.cli.output import Item
from api.cli.terminal import clean, human_duration

#: Fields that one line names.
_SHOWN_FIELDS = 5


def remarks(events: Iterable[Item], *, unicode: bool = True) -> Iterator[tuple[str, str]]:
    """Lines about the events of a trace, each with its tone, in the order of the events."""
    for event in events:
        measures = event["measures"] or {}
        if measures.get("slow"):
            took = human_duration(event["duration_ms"], unicode=unicode)
            step = slowest_step(_slowest(measures), unicode=unicode)
            yield clean(f"slow: {event['command_slug']} took {took}" + (f"; {step}" if step else "")), "slow"
        fields = failed_fields(event)
        if fields:
            where = event["step_path"] or f"{event['command_slug']} refused"
            yield clean(f"{where}: {fields}"), "failed"


def slowest_step(step: Item | None, *, unicode: bool = True) -> str:
    """`find (fragment.query) took 5.2 s`; nothing, where no step ran."""
    if step is None:
        return ""
    return f"{step['path']} ({step['step_type']}) took {human_duration(step['duration_ms'], unicode=unicode)}"


def failed_fields(event: Item) -> str:
    """`inputs.body (required), inputs.<unknown> (unknown)`; nothing, where everything validated."""
    fields = (event["measures"] or {}).get("failed_fields", ())
    shown = [f"{each['field']} ({each['rule']})" for each in fields[:_SHOWN_FIELDS]]
    more = len(fields) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _slowest(measures: Item) -> Item | None:
    """That of an event, as executions show it."""
    if "slowest_step" not in measures:
        return None
    return {
        "path": measures["slowest_step"],
        "step_type": measures["slowest_step_type"],
        "duration_ms": measures["slowest_step_ms"],
    }
