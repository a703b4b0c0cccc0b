"""Lists and single things as a table, as JSON (the same as over REST), or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import click

from api.cli.terminal import Terminal, cells, clean, clip, pad

#: A thing as the REST API gives it.
Item: TypeAlias = Mapping[str, Any]

_GAP = "  "

list_format = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to show the list.",
)
item_format = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to show it."
)


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its heading.
        cell: Text of an item's cell, or the name of the field that is it.
        right: Whether numbers line up on the right.
        shrinks: Whether it is cut when the terminal is too narrow.
        least: Columns of the terminal to which it may be cut.
        leaves: Whether, and in which order, it is left out where even that is not enough: 1 first; 0 is never.
        tone: Colour of an item's cell.
    """

    title: str
    cell: Callable[[Item], str] | str
    right: bool = False
    shrinks: bool = False
    tone: Callable[[Item], str] | None = None
    least: int = 8
    leaves: int = 0


class View(NamedTuple):
    """How a list is shown.

    Attributes:
        columns: Of the table.
        fields: Of the CSV, which only ever grows at its end.
        empty: What to say when there is nothing.
    """

    columns: Sequence[Column]
    fields: Sequence[str]
    empty: str


def show_page(page: Item, view: View, form: str, terminal: Terminal) -> None:
    """Print `{"items": [...], "next_cursor": ...}`."""
    if form == "json":
        print_json(page)
    elif form == "csv":
        print_csv(page["items"], view.fields)
    else:
        _print_table(page["items"], view, terminal)
        if page["next_cursor"]:
            Terminal.of_stderr().say(f"more with --cursor {page['next_cursor']}", "dim")


def print_json(body: object) -> None:
    """JSON for programs, indented for people; ASCII only where the terminal has no more."""
    utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(body, indent=2, ensure_ascii=not utf8))


def print_items(items: Iterable[Item], rest: Callable[[], Item] = lambda: {"next_cursor": None}) -> None:
    """A whole list, item by item, as `print_json` prints `{"items": [...], **rest()}`; `rest` is asked at the end."""
    utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    before = "\n"
    print('{\n  "items": [', end="")
    for item in items:
        text = json.dumps(item, indent=2, ensure_ascii=not utf8).replace("\n", "\n    ")
        print(f"{before}    {text}", end="")
        before = ",\n"
    print("]" if before == "\n" else "\n  ]", end="")
    print("".join(f',\n  "{name}": {json.dumps(value)}' for name, value in rest().items()), end="\n}\n")


def print_csv(items: Sequence[Item], fields: Sequence[str], *, heading: bool = True) -> None:
    """One line an item; lists and objects as JSON, what is not there as nothing. The heading is the fields' names."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if heading:
        writer.writerow(fields)
    writer.writerows([_csv_cell(item.get(field)) for field in fields] for item in items)


def _csv_cell(value: object) -> object:
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _print_table(items: Sequence[Item], view: View, terminal: Terminal) -> None:
    if not items:
        terminal.say(view.empty, "dim")
        return
    for line in table(items, view.columns, terminal):
        terminal.say(line)


def table(items: Sequence[Item], columns: Sequence[Column], terminal: Terminal) -> list[str]:
    """Lines of a table, heading first; made to fit the width only where a person looks at it."""
    rows = [[clean(_cell(column, item)) for column in columns] for item in items]
    widths = [max(cells(column.title), *(cells(row[index]) for row in rows)) for index, column in enumerate(columns)]
    if terminal.interactive:
        kept = _fitting(widths, columns, terminal.width)
        columns, widths = [columns[index] for index in kept], [widths[index] for index in kept]
        rows = [[row[index] for index in kept] for row in rows]
        _shrink(widths, columns, _room(widths, columns, terminal.width))
    heading = [
        pad(clip(column.title, width), width, right=column.right) for column, width in zip(columns, widths, strict=True)
    ]
    lines = [terminal.paint(_GAP.join(heading).rstrip(), "bold")]
    for item, row in zip(items, rows, strict=True):
        shown = []
        for column, width, text in zip(columns, widths, row, strict=True):
            cell = pad(clip(text, width, terminal.marks.ellipsis), width, right=column.right)
            shown.append(terminal.paint(cell, column.tone(item)) if column.tone else cell)
        lines.append(_GAP.join(shown).rstrip())
    return lines


def _cell(column: Column, item: Item) -> str:
    if callable(column.cell):
        return column.cell(item)
    value = item[column.cell]
    return "" if value is None else str(value)


def _fitting(widths: Sequence[int], columns: Sequence[Column], width: int) -> list[int]:
    """Which columns there is room for, once those that shrink have."""
    kept = list(range(len(columns)))
    for index in sorted(kept, key=lambda index: columns[index].leaves):
        cut = (min(widths[each], columns[each].least) if columns[each].shrinks else widths[each] for each in kept)
        if sum(cut) + len(_GAP) * (len(kept) - 1) <= width:
            break
        if columns[index].leaves:
            kept.remove(index)
    return kept


def _room(widths: Sequence[int], columns: Sequence[Column], width: int) -> int:
    """Width of as many lines of the terminal as a row takes, however much is cut: cutting more would win nothing."""
    cut = (min(each, column.least) if column.shrinks else each for each, column in zip(widths, columns, strict=True))
    least = sum(cut) + len(_GAP) * (len(widths) - 1)
    return max(1, -(-least // width)) * width


def _shrink(widths: list[int], columns: Sequence[Column], width: int) -> None:
    """Take from the widest column that may shrink, until the table fits or nothing is left to take."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0:
        able = [index for index, column in enumerate(columns) if column.shrinks and widths[index] > column.least]
        widest = max(able, key=lambda index: widths[index], default=None)
        if widest is None:
            return
        widths[widest] -= 1
        excess -= 1


def local_time(instant: str | None) -> str:
    """An instant of the API as this machine's time, to the second."""
    return "" if instant is None else datetime.fromisoformat(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def one_line(value: object) -> str:
    """Any JSON value on one line; a text as it is."""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def block(value: object) -> str:
    """Any JSON value for reading, over as many lines as it takes; a text as it is."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(clean(line) for line in text.splitlines())
