"""`weir telemetry quarantine`: events that could not be stored, until somebody stores them after all or drops them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from api.cli.completion import event_types
from api.cli.main import EXPECTED
from api.cli.options import together
from api.cli.output import Column, Item, View, item_format, list_format, local_time, print_json, show_page
from api.cli.pager import paged
from api.cli.selections import Selection, confirmation, require_names_or_filters
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, plural
from api.client import segment

_PATH = "/api/telemetry/quarantine"

_FIELDS = (
    "id", "quarantined_at", "reason", "event_type", "event_id", "epoch", "number", "shape", "size_bytes", "is_kept",
)  # fmt: skip

_REASONS = ("undecodable", "unknown_type", "newer_version", "malformed", "refused", "entry_malformed")

#: Why one cannot be stored, by the API's code.
_OBSTACLES = {
    "not_kept": "only its shape is kept",
    "not_understood": "this version does not know it, or Postgres still refuses it",
    "outside": "no partition holds its day",
}


@click.group(short_help="Look at events that could not be stored, store them after all, drop them.")
def quarantine() -> None:
    """Deal with events that could not be stored.

    Of most of them only the shape is kept: types and sizes of fields, never content. Those of a newer version of Weir,
    and those that only Postgres refused, are kept whole: replay them after the upgrade, or once the cause is mended.
    """


#: The options that say which.
_filters = together(
    click.option("--reason", type=click.Choice(_REASONS), help="Only those with this reason."),
    click.option(
        "--event-type", shell_complete=event_types, metavar="TYPE", help="Only events of this type: its full name."
    ),
)


@quarantine.command("list")
@_filters
@click.option("--kept", is_flag=True, help="Only those whose event is kept.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
@paged
def list_quarantined(form: str, **query: object) -> None:
    """List what could not be stored, newest first."""
    with open_client() as client:
        page = client.get(_PATH, {**query, "kept": "true" if query["kept"] else None})
    if form == "csv":  # a shape has no place in a cell
        page = {**page, "items": [{**item, "shape": _summary(item["shape"])} for item in page["items"]]}
    is_filtered = query["reason"] or query["event_type"] or query["kept"]
    nothing = "Nothing of that kind is in quarantine." if is_filtered else "Nothing is in quarantine."
    show_page(page, View(_COLUMNS, _FIELDS, nothing), form, Terminal.of_stdout())


@quarantine.command("show")
@click.argument("row_id", metavar="ID")
@item_format
def show(row_id: str, form: str) -> None:
    """Show one: why it was not stored, and its shape."""
    with open_client() as client:
        row = client.get(f"{_PATH}/{segment(row_id)}")
    if form == "json":
        print_json(row)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{terminal.marks.of('failed')} {row['reason']}", "failed")
    for label, value in _facts(row):
        terminal.say(f"{label:<12} {clean(value)}")
    for each in row["shape"].get("fields", ()):
        terminal.say(f"  {clean(_field(each))}", "dim")


@quarantine.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_filters
@confirmation("All of them, without another filter.")
@item_format
def replay(ids: tuple[str, ...], form: str, **given: Any) -> None:  # noqa: ANN401 - one per option
    """Store events that are kept: those named, or all that the filters find.

    What is stored leaves the quarantine, and is never stored twice.
    """
    _deal("replay", ids, given, {} if ids else {"kept": True}, form)


@quarantine.command("drop")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_filters
@confirmation("All of them, without another filter.")
@item_format
def drop(ids: tuple[str, ...], form: str, **given: Any) -> None:  # noqa: ANN401 - one per option
    """Delete what is in quarantine: what is named, or all that the filters find. It is gone."""
    _deal("drop", ids, given, {}, form)


def _deal(verb: str, ids: Sequence[str], given: Mapping[str, Any], more: Mapping[str, Any], form: str) -> None:
    """Replay or drop: what is named at once, what filters find once its number is confirmed."""
    filters = {name: given[name] for name in ("reason", "event_type") if given[name] is not None}
    require_names_or_filters(ids, filters, given)
    asked = {**filters, **more, **({"ids": list(ids)} if ids else {})}
    with open_client() as client:
        preview = _ROWS.preview(client, asked)
        if given["dry_run"]:
            _ROWS.show_preview(preview, verb, form)
            return
        count = preview["count"] if given["count"] is None else given["count"]
        if count and not (ids or given["yes"] or given["count"] is not None):
            _ROWS.confirm(preview, verb, form)
        done, refused = _ROWS.deal(client, verb, {**asked, "up_to": preview["up_to"]}, count)
    _ROWS.show_done(verb, done, refused, form)
    obstacles = {each["id"]: _OBSTACLES[each["code"]] for each in refused}
    obstacles |= {each: "not in quarantine" for each in ids if each.lower() not in {*done, *obstacles}}
    for each, why in obstacles.items():
        Terminal.of_stderr().say(clean(f"weir: {each}: {why}"), "failed")
    if obstacles:
        raise click.exceptions.Exit(EXPECTED)


def _facts(row: Item) -> list[tuple[str, str]]:
    origin = f"number {row['number']} of {row['epoch']}" if row["epoch"] else "unknown"
    return [
        ("id", row["id"]),
        ("event", f"{row['event_type'] or 'of no known type'} {row['event_id'] or ''}".rstrip()),
        ("since", local_time(row["quarantined_at"])),
        ("from", origin),
        ("shape", f"{_summary(row['shape'])}, {plural(row['size_bytes'], 'byte')}"),
        ("kept", f"yes: weir telemetry quarantine replay {row['id']}" if row["is_kept"] else "no, only its shape"),
    ]


def _summary(shape: Item) -> str:
    """A shape as `array of 6`."""
    return f"{shape['type']} of {shape['size']}" if "size" in shape else str(shape["type"])


def _field(field: Item) -> str:
    return f"{field.get('name', '-')}: {_summary(field)}"


_COLUMNS = (
    Column("SINCE", lambda item: local_time(item["quarantined_at"]), leaves=2),
    Column("REASON", "reason", tone=lambda _: "failed"),
    Column("EVENT", lambda item: item["event_type"] or "", shrinks=True),
    Column("SHAPE", lambda item: _summary(item["shape"]), shrinks=True, leaves=1),
    Column("BYTES", lambda item: str(item["size_bytes"]), right=True, leaves=3),
    Column("KEPT", lambda item: "yes" if item["is_kept"] else "no"),
    Column("ID", "id"),
)

_ROWS = Selection(_PATH, "row", {"replay": "stored", "drop": "dropped"}, _COLUMNS)
