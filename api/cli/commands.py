"""`weir commands`: what can be run, a new one, and whether files are as they should be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from api.cli.main import EXPECTED
from api.cli.output import Column, Item, View, block, item_format, list_format, print_json, show_page
from api.cli.target import commands_folder, open_client
from api.cli.terminal import Terminal, clean, plural
from api.client import segment
from api.settings import Settings, load_settings
from telemetry.errors import WeirError
from workers.home import find_home

if TYPE_CHECKING:
    from dsl.command import Command
    from dsl.errors import Fault
    from dsl.library import Library

_FIELDS = ("slug", "name", "version", "description", "origin", "definition_hash", "steps", "inputs")

_VIEW = View(
    (
        Column("COMMAND", "slug"),
        Column("VERSION", "version"),
        Column("STEPS", "steps", right=True),
        Column("FROM", "origin", shrinks=True),
        Column("DESCRIPTION", lambda item: item["description"] or item["name"], shrinks=True),
    ),
    _FIELDS,
    "There are no commands.",
)


class CommandExists(WeirError):
    """A new command file would replace one that is there."""

    code = "command.exists"


class Checked(NamedTuple):
    """A command file that was looked at."""

    source: str
    faults: tuple[Fault, ...]


@click.group(short_help="List, show, write and check commands.")
def commands() -> None:
    """List, show, write and check commands."""


@commands.command("list")
@list_format
def list_commands(form: str) -> None:
    """List every command, and say which files do not load."""
    with open_client() as client:
        page = client.get("/api/commands")
    terminal = Terminal.of_stdout()
    show_page(page, _VIEW, form, terminal)
    if form == "table" and page["faults"]:
        terminal.say(f"{plural(len(page['faults']), 'file')} with faults: see weir commands validate", "failed")


@commands.command("show")
@click.argument("slug")
@item_format
def show_command(slug: str, form: str) -> None:
    """Show the command SLUG: its inputs, and the text of its file."""
    with open_client() as client:
        command = client.get(f"/api/commands/{segment(slug)}")
    if form == "json":
        print_json(command)
        return
    terminal = Terminal.of_stdout()
    terminal.say(f"{command['slug']} {command['version']}".rstrip(), "bold")
    for line in (command["name"], command["description"], f"from {command['origin']}"):
        if line:
            terminal.say(clean(line))
    for line in _inputs(command["inputs"]):
        terminal.say(line)
    terminal.say()
    terminal.say(block(command["source"]))


@commands.command("new")
@click.argument("slug")
def new(slug: str) -> None:
    """Write a new command file, commented and working, that can be run at once.

    It goes to the running stack's folder of commands, else to the one of WEIR_COMMANDS_DIR (./commands).
    """
    from api.cli.template import new_command
    from dsl.check import MAX_SLUG, SLUG

    if not SLUG.fullmatch(slug) or len(slug) > MAX_SLUG:
        raise click.BadParameter(
            f"{slug!r}: expected lower case letters and digits, with . _ or - between", param_hint="SLUG"
        )
    path = commands_folder(load_settings()) / f"{slug}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(new_command(slug))
    except FileExistsError as error:
        raise CommandExists(f"{path} is there already, and is left alone") from error
    click.echo(f"{_near(path)}\n\nEdit it, then:\n  weir commands validate {slug}\n  weir run {slug}")


@commands.command("validate")
@click.argument("what", nargs=-1, metavar="[SLUG|PATH]...")
@item_format
def validate(what: tuple[str, ...], form: str) -> None:
    """Check command files without a server, and say everything that is wrong with each.

    Without arguments, all files of the commands folder and the built-in packs. Exits with 1 when there are faults.
    """
    settings = load_settings()
    checked = list(_check(settings, what))
    if form == "json":
        from api.problems import fault_json

        items = [{"source": each.source, "errors": [fault_json(fault) for fault in each.faults]} for each in checked]
        print_json({"items": items, "next_cursor": None})
    else:
        _show_checked(checked, Terminal.of_stdout())
    if any(each.faults for each in checked):
        raise click.exceptions.Exit(EXPECTED)


def _check(settings: Settings, what: Iterable[str]) -> Iterator[Checked]:
    """Each named file, folder or command; everything when nothing is named.

    Raises:
        UnknownCommand: There is neither a command nor a file of that name.
    """
    from dsl.errors import CommandInvalid, UnknownCommand
    from dsl.library import PACKS

    own = commands_folder(settings), find_home(settings.servers).commands
    library = _library(settings, PACKS, *own)
    if not what:
        yield from _all_of(library)
    for name in what:
        path = Path(name)
        if os.sep not in name and path.suffix not in {".yaml", ".yml"}:
            try:
                yield _fine(library.get(name))
                continue
            except CommandInvalid as invalid:
                yield Checked(invalid.source, invalid.faults)
                continue
            except UnknownCommand:
                if not path.exists():
                    raise
        if path.is_dir():
            yield from _all_of(_library(settings, path))
        else:
            yield _check_file(settings, path)


def _all_of(library: Library) -> Iterator[Checked]:
    yield from map(_fine, library.all())
    for invalid in library.faults():
        yield Checked(invalid.source, invalid.faults)


def _fine(command: Command) -> Checked:
    return Checked(f"{command.slug} (pack)" if command.origin == "pack" else command.origin, ())


def _check_file(settings: Settings, path: Path) -> Checked:
    from dsl.check import load
    from dsl.errors import CommandInvalid
    from dsl.steps import REGISTRY

    try:
        load(path.read_bytes(), REGISTRY, settings.dsl, origin=str(path))
    except CommandInvalid as invalid:
        return Checked(str(path), invalid.faults)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="PATH") from error
    return Checked(str(path), ())


def _library(settings: Settings, *folders: Path) -> Library:
    from dsl.library import Library
    from dsl.steps import REGISTRY

    return Library(folders, REGISTRY, settings.dsl)


def _show_checked(checked: Iterable[Checked], terminal: Terminal) -> None:
    from api.cli.faults import render

    fine = 0
    for each in checked:
        fine += not each.faults
        lines = _lines(each.source) if each.faults else []
        for fault in each.faults:
            head, *rest = render(fault, _near(Path(each.source)), lines)
            terminal.say(head, "failed")
            for line in rest:
                terminal.say(line)
    if fine:
        verb = "is" if fine == 1 else "are"
        terminal.say(f"{terminal.marks.succeeded} {plural(fine, 'command')} {verb} fine", "succeeded")


def _lines(source: str) -> list[str]:
    try:
        return Path(source).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:  # it is gone; the fault is told without its line
        return []


def _near(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _inputs(schema: Item) -> Iterator[str]:
    properties: dict[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    for name, rule in properties.items():
        facts = [str(rule.get("type", "")) if "type" in rule else "one of " + ", ".join(map(str, rule.get("enum", [])))]
        if name in required:
            facts.append("required")
        if "default" in rule:
            facts.append(f"default {rule['default']!r}")
        yield clean(
            f"  -i {name}=…  {', '.join(fact for fact in facts if fact)}  {rule.get('description', '')}"
        ).rstrip()
