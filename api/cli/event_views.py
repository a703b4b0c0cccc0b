"""Events as a table, as CSV, or by columns of one's choice."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import click

from api.cli.output import Column, Item, View, local_time, one_line
from api.cli.remarks import failed_fields
from api.cli.terminal import Terminal, human_duration
from telemetry.event_fields import EVENT_FIELDS as FIELDS

_EMPTY = "No events here. Run something (weir run todo.add -i body='buy milk'), or filter less (a longer --last)."


def chosen_columns(text: str | None) -> tuple[str, ...]:
    """Fields of events from a list with commas; none for none.

    Raises:
        BadParameter: One is no field; says which may be meant.
    """
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    for name in names:
        if name not in FIELDS:
            near = get_close_matches(name, FIELDS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"they have {', '.join(FIELDS)}"
            message = f"events have no {name!r}; {meant}"
            raise click.BadParameter(message, param_hint="--columns")
    return names


def only_columns(item: Item, names: Sequence[str]) -> Item:
    """The item with nothing but these; with all, if none are named."""
    return {name: item[name] for name in names} if names else item


def view_of(terminal: Terminal, names: Sequence[str]) -> View:
    """How events are shown: by these columns, or as is usual."""
    if names:
        return View([_plain(name) for name in names], names, _EMPTY)

    def duration(item: Item) -> str:
        return human_duration(item["duration_ms"], unicode=terminal.unicode)

    def told(item: Item) -> str:
        outcome = item["outcome"]
        return f"{terminal.marks.of(outcome)} {outcome}" if outcome else ""

    return View(
        (
            Column("OCCURRED", lambda item: local_time(item["occurred_at"])),
            Column("EVENT", lambda item: item["event_type"]),
            Column("COMMAND", lambda item: item["command_slug"] or "", shrinks=True),
            Column("WHERE", _where, shrinks=True),
            Column("OUTCOME", told, tone=lambda item: item["outcome"] or ""),
            Column("DURATION", duration, right=True),
            Column("CORRELATION ID", lambda item: item["correlation_id"]),
        ),
        FIELDS,
        _EMPTY,
    )


def _plain(name: str) -> Column:
    return Column(name.upper(), lambda item: "" if item[name] is None else one_line(item[name]), shrinks=True)


def _where(item: Item) -> str:
    place = item["step_path"] or (item["operation"] if item["component"] == "http" else "")
    fields = failed_fields(item)
    return f"{place}: {fields}" if place and fields else place or fields
