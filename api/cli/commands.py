"""`weir commands`: what can be run, a new one, and whether files are as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from api.cli.checking import schema, validate
from api.cli.command_sources import own_folders, slugs_in
from api.cli.completion import slugs
from api.cli.faults import near
from api.cli.holding import pause_command, resume_command
from api.cli.output import Column, Item, View, block, item_format, list_format, print_json, show_page
from api.cli.queues import pause_words
from api.cli.rehearsal import run_tests
from api.cli.target import commands_folder, open_client
from api.cli.terminal import Terminal, clean, plural
from api.client import segment
from api.settings import load_settings
from telemetry.errors import WeirError

_FIELDS = ("slug", "name", "version", "description", "origin", "definition_hash", "steps", "inputs", "lane", "paused")

_VIEW = View(
    (
        Column("COMMAND", lambda item: item["slug"] + (" (paused)" if item["paused"] else "")),
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


class CommandNotWritten(WeirError):
    """A new command file cannot be written where it should be."""

    code = "command.not_written"


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
@click.argument("slug", shell_complete=slugs)
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
    for line in (command["name"], command["description"], f"from {command['origin']}", pause_words(command["paused"])):
        if line:
            terminal.say(clean(line))
    for line in _inputs(command["inputs"]):
        terminal.say(line)
    terminal.say()
    terminal.say(block(command["source"]))


@commands.command("new", short_help="Write a new command file that works as it is.")
@click.argument("slug", shell_complete=slugs)
def new(slug: str) -> None:
    """Write a new command file, commented and working, that can be run at once.

    It goes to the running stack's folder of commands, else to the one of WEIR_COMMANDS_DIR (./commands). One that has
    the slug of a pack takes its place, and says so.
    """
    from api.cli.template import new_command
    from dsl.checking.shape import MAX_SLUG, SLUG
    from dsl.library import PACKS

    if not SLUG.fullmatch(slug) or len(slug) > MAX_SLUG:
        raise click.BadParameter(
            f"{slug!r}: expected lower case letters and digits, with . _ or - between", param_hint="SLUG"
        )
    settings = load_settings()
    path = commands_folder(settings) / f"{slug}.yaml"
    owner = next((file for claimed, file in slugs_in(own_folders(settings), settings) if claimed == slug), None)
    if owner is not None:
        raise CommandExists(f"{near(owner)} is there already, with the slug {slug}, and is left alone")
    _write(path, new_command(slug))
    click.echo(near(path))
    if (PACKS / f"{slug}.yaml").is_file():
        click.echo(f"It takes the place of the pack {slug}.")
    click.echo(f"\nEdit it, then:\n  weir commands validate {slug}\n  weir run {slug}")


def _write(path: Path, text: str) -> None:
    """A new file, whole or not at all."""
    hint = "WEIR_COMMANDS_DIR names another folder."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandNotWritten(
            f"the folder {near(path.parent)} cannot be made: {error.strerror}", hint=hint
        ) from error
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise CommandExists(f"{near(path)} is there already, and is left alone") from error
    except OSError as error:
        raise CommandNotWritten(f"{near(path)} cannot be written: {error.strerror}", hint=hint) from error
    try:
        with file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CommandNotWritten(f"{near(path)} cannot be written: {error.strerror}", hint=hint) from error


commands.add_command(pause_command)
commands.add_command(resume_command)
commands.add_command(validate)
commands.add_command(schema)
commands.add_command(run_tests)


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
