"""`weir commands validate` and `schema`: command files looked at without a server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.faults import near, render
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_json
from api.cli.step_types import installed_step_types
from api.cli.target import commands_folder
from api.cli.terminal import Terminal, plural
from api.settings import Settings, load_settings
from workers.home import find_home

if TYPE_CHECKING:
    from dsl.errors import Fault
    from dsl.validation import Report


#: Bytes of a file that are read to show the lines of its faults.
_READ = 16 << 20


@click.command("validate")
@click.argument("what", nargs=-1, metavar="[SLUG|PATH]...")
@click.option("--strict", is_flag=True, help="Let warnings fail it too.")
@item_format
def validate(what: tuple[str, ...], strict: bool, form: str) -> None:
    """Check command files without a server, and say everything that is wrong with each.

    Takes slugs, files and folders; without any, all files of the commands folders and the built-in packs. Steps that
    can never run are warned of. Exits with 1 when there are faults.
    """
    reports = _reports(load_settings(), what)
    if form == "json":
        print_json({"items": [_item(report) for report in reports], "next_cursor": None})
    else:
        _show(reports, Terminal.of_stdout())
    if any(report.faults or (strict and report.warnings) for report in reports):
        raise click.exceptions.Exit(EXPECTED)


@click.command("schema")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file, and print nothing."
)
def schema(output: Path | None) -> None:
    """Print the JSON Schema of command files, for editors: they complete and check with it.

    It knows the step types of this installation, your own among them.
    """
    from dsl.schema import command_schema

    text = json.dumps(command_schema(installed_step_types()), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from error
    click.echo(near(output))


def _reports(settings: Settings, what: Sequence[str]) -> Sequence[Report]:
    """What is said of each named file, folder and command; of everything when nothing is named.

    Raises:
        UnknownCommand: There is neither a command nor a file of that name.
    """
    from dsl.library import PACKS
    from dsl.validation import validate

    registry = installed_step_types()
    own = [commands_folder(settings), find_home(settings.servers).commands]
    folders = [PACKS, *(folder for folder in own if os.path.lexists(folder))]
    everything: Sequence[Report] = ()
    if not what or any(_may_be_slug(name) for name in what):
        everything = validate(folders, registry, settings.dsl, packs=PACKS)
    if not what:
        return everything
    paths: list[Path] = []
    for name in what:
        of_slug = _files_of(name, everything, PACKS) if _may_be_slug(name) else []
        paths += of_slug or [_path(name, everything)]
    try:
        return validate(paths, registry, settings.dsl, packs=PACKS)
    except FileNotFoundError as error:
        raise click.BadParameter(f"{error.filename}: {error.strerror}", param_hint="PATH") from error


def _may_be_slug(name: str) -> bool:
    return os.sep not in name and Path(name).suffix not in {".yaml", ".yml"}


def _files_of(slug: str, reports: Iterable[Report], packs: Path) -> list[Path]:
    """The files that have, or claim, a slug; a pack only when no other does."""
    found = [Path(report.path) for report in reports if (report.slug or Path(report.path).stem) == slug]
    return [path for path in found if path.parent != packs] or found


def _path(name: str, known: Iterable[Report]) -> Path:
    from dsl.errors import UnknownCommand
    from dsl.faults import nearest

    path = Path(name)
    if _may_be_slug(name) and not path.exists():
        meant = nearest(name, sorted(report.slug for report in known if report.slug))
        hint = f"Did you mean {meant}?" if meant else "`weir commands list` shows what there is."
        raise UnknownCommand(f"there is no command {name[:100]}", hint=hint, slug=name[:100], nearest=meant)
    return path


def _item(report: Report) -> dict[str, Any]:
    from api.problems import report_json

    return report_json(report, _source(report))


def _source(report: Report) -> str:
    """What a person calls the file."""
    from dsl.library import PACKS

    is_sound_pack = Path(report.path).parent == PACKS and not report.faults
    return f"{report.slug} (pack)" if is_sound_pack else report.path


def _show(reports: Iterable[Report], terminal: Terminal) -> None:
    fine = 0
    for report in reports:
        fine += not report.faults
        told = [("failed", "", fault) for fault in report.faults]
        told += [("skipped", "warning: ", fault) for fault in report.warnings]
        lines = _lines(report.path) if any(fault.line for _, _, fault in told) else []
        for tone, kind, fault in told:
            head, *rest = render(fault, near(Path(report.path)), lines, kind)
            terminal.say(head, tone)
            for line in rest:
                terminal.say(line)
    if fine:
        verb = "is" if fine == 1 else "are"
        terminal.say(f"{terminal.marks.succeeded} {plural(fine, 'command')} {verb} fine", "succeeded")


def fault_lines(fault: Fault, path: Path) -> list[str]:
    """A fault of a file as a person reads it, with the line it stands in."""
    return render(fault, near(path), _lines(str(path)))


def _lines(source: str) -> list[str]:
    from dsl.command_files import content_of

    try:
        text = content_of(source, _READ)
    except OSError:  # it is gone; the fault is told without its line
        return []
    return text.decode("utf-8-sig", errors="replace").splitlines()
