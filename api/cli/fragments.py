"""`weir fragments`: bring notes in, look at what there is, and take it out again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.interrupt import tidy
from api.cli.main import EXPECTED
from api.cli.note_import import NoteImport
from api.cli.output import Column, Item, View, block, item_format, list_format, local_time, print_json, show_page
from api.cli.progress import progress
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean, plural
from api.client import segment
from dsl.errors import Fault
from telemetry.errors import WeirError

if TYPE_CHECKING:
    from dsl.note_export import NoteFolder
    from dsl.notes import Note

_FIELDS = ("id", "type", "title", "space", "tags", "source", "created_at", "updated_at")

_VIEW = View(
    (
        Column("TYPE", lambda item: item["type"]),
        Column("TITLE", lambda item: item["title"], shrinks=True),
        Column("STATUS", lambda item: str(item["state"].get("status", ""))),
        Column("TAGS", lambda item: ", ".join(item["tags"]), shrinks=True),
        Column("SPACE", lambda item: item["space"]),
        Column("UPDATED", lambda item: local_time(item["updated_at"])),
        Column("ID", lambda item: item["id"]),
    ),
    _FIELDS,
    "There are no fragments here. Try: weir fragments import DIR, or weir run note.add -i content=Hello",
)


@click.group(short_help="Look at fragments, import and export them.")
def fragments() -> None:
    """Look at fragments, the built-in records; import and export them."""


@fragments.command("list")
@click.option("--type", "type_", help="Only those of this type.")
@click.option("--tag", "tags", multiple=True, help="Only those with this tag; several: with all of them.")
@click.option("--space", help="Only those of this space.")
@click.option("--q", "text", help="Only those with this text in title or content.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="`next_cursor` of the page before.")
@list_format
def list_fragments(  # noqa: PLR0913 - one argument per option
    type_: str | None,
    tags: tuple[str, ...],
    space: str | None,
    text: str | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """List fragments, newest first."""
    query = {
        "type": type_,
        "tag": ",".join(tags) or None,
        "space": space,
        "q": text,
        "limit": limit,
        "cursor": cursor,
    }
    with open_client() as client:
        page = client.get("/api/fragments", query)
    show_page(page, _VIEW, form, Terminal.of_stdout())


@fragments.command("show")
@click.argument("fragment_id", metavar="ID")
@item_format
def show_fragment(fragment_id: str, form: str) -> None:
    """Show one fragment with all of its content."""
    with open_client() as client:
        fragment = client.get(f"/api/fragments/{segment(fragment_id)}")
    if form == "json":
        print_json(fragment)
        return
    terminal = Terminal.of_stdout()
    terminal.say(clean(fragment["title"]) or "(no title)", "bold")
    for label, value in _facts(fragment):
        terminal.say(f"{label:<8} {clean(value)}")
    if fragment["content"]:
        terminal.say()
        terminal.say(block(fragment["content"]))


def _facts(fragment: Item) -> list[tuple[str, str]]:
    facts = [
        ("id", fragment["id"]),
        ("type", f"{fragment['type']} in space {fragment['space']}"),
        ("tags", ", ".join(fragment["tags"])),
        ("state", _told(fragment["state"])),
        ("metadata", _told(fragment["metadata"])),
        ("source", fragment["source"] or ""),
        ("created", local_time(fragment["created_at"])),
        ("updated", local_time(fragment["updated_at"])),
    ]
    return [(label, value) for label, value in facts if value]


def _told(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) if record else ""


@fragments.command("import", short_help="Import a folder of Markdown notes.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--space", default="default", show_default=True, help="Which space they go into.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to show it."
)
def import_fragments(folder: Path, space: str, form: str) -> None:
    """Import a folder of Markdown notes; a note that was imported before is brought up to date.

    Front matter (title, type, tags, created, updated, anything else as metadata) is optional. Files that cannot be
    read, and links that lead out of the folder, are named at the end; exits with 1 only when nothing could be imported.
    Interrupted, or cut off from the API, it can be run again: what is there already is recognised.
    """
    from dsl.notes import count_notes, read_notes

    faults: list[Fault] = []
    with open_client() as client:
        importing = NoteImport(client, space, faults)
        try:
            with tidy(), _listing(folder):
                _import(importing, count_notes(folder), read_notes(folder, faults), faults)
        except (KeyboardInterrupt, WeirError):
            stored = plural(importing.counts.total(), "note")
            Terminal.of_stderr().say(f"{stored} of {clean(str(folder))} are in; run it again for the rest.")
            raise
    _show_imported(folder, importing.counts, faults, form)


def _import(importing: NoteImport, length: int, notes: Iterable[Note], faults: list[Fault]) -> None:
    """Read and send, showing how far it is on a terminal."""
    with progress("importing", length) as bar:
        importing.run(notes, lambda: bar.advance(min(length, importing.counts.total() + len(faults)) - bar.done))


@contextmanager
def _listing(folder: Path) -> Iterator[None]:
    """Turns "the folder itself cannot be listed" into a fault of the command line."""
    try:
        yield
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="DIR") from error


def _show_imported(folder: Path, counts: Counter[str], faults: list[Fault], form: str) -> None:
    imported = counts.total()
    if form == "json":
        problems = [
            {"source": fault.path, "line": fault.line, "code": fault.code, "message": fault.message} for fault in faults
        ]
        print_json({**counts, "faults": problems})
    elif not imported and not faults:
        print(f"There are no notes (*.md, *.markdown) in {clean(str(folder))}.")
    else:
        print(
            f"{plural(imported, 'note')} in {clean(str(folder))}: {counts['created']} created, "
            f"{counts['updated']} updated, {counts['unchanged']} already there"
            + (f", {len(faults)} left out" if faults else "")
        )
    for fault in faults:
        place = f"{fault.path}:{fault.line}" if fault.line else fault.path
        meant = f" (expected: {fault.expected})" if fault.expected else ""
        Terminal.of_stderr().say(f"{clean(place)}: {clean(fault.message + meant)}", "failed")
    if faults and not imported:
        raise click.exceptions.Exit(EXPECTED)


@fragments.command("export", short_help="Export fragments as a folder of Markdown notes.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--type", "type_", help="Only those of this type.")
@click.option("--tag", "tags", multiple=True, help="Only those with this tag; several: with all of them.")
@click.option("--space", default="default", show_default=True, help="Which space they are in.")
@click.option("--force", is_flag=True, help="Replace files that no export wrote, too.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to show it."
)
def export_fragments(  # noqa: PLR0913 - one argument per option
    folder: Path, type_: str | None, tags: tuple[str, ...], space: str, force: bool, form: str
) -> None:
    """Export fragments as a folder of Markdown notes, which `weir fragments import` reads back without a loss.

    A fragment that was exported before keeps its file; files of fragments that are gone stay. Exits with 1 when a file
    could not be written.
    """
    from dsl.note_export import NoteFolder

    query = {"type": type_, "tag": ",".join(tags) or None, "space": space, "contents": "whole"}
    counts: Counter[str] = Counter()
    with open_client() as client:
        items = client.pages("/api/fragments", query)
        notes = _opened(folder, NoteFolder, force)
        with tidy(), progress("exporting") as bar:
            for fragment in items:
                counts[notes.write(fragment) or "failed"] += 1
                bar.advance()
    _show_exported(folder, counts, notes.faults, form)


def _opened(folder: Path, kind: type[NoteFolder], force: bool) -> NoteFolder:
    try:
        return kind(folder, replace=force)
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="DIR") from error


def _show_exported(folder: Path, counts: Counter[str], faults: list[Fault], form: str) -> None:
    if form == "json":
        problems = [{"path": fault.path, "code": fault.code, "message": fault.message} for fault in faults]
        print_json({"written": counts["written"], "unchanged": counts["unchanged"], "faults": problems})
    else:
        total = counts["written"] + counts["unchanged"]
        print(
            f"{plural(total, 'fragment')} in {clean(str(folder))}: {counts['written']} written, "
            f"{counts['unchanged']} unchanged"
        )
    for fault in faults:
        Terminal.of_stderr().say(f"{clean(fault.path)}: {clean(fault.message)}", "failed")
    if counts["failed"]:
        raise click.exceptions.Exit(EXPECTED)
