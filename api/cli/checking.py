"""`weir commands validate` and `schema`: command files looked at without a server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.faults import near, render
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_items
from api.cli.step_types import installed_step_types
from api.cli.target import commands_folder
from api.cli.terminal import Counter, Terminal, plural
from api.settings import Settings, load_settings
from workers.home import find_home

if TYPE_CHECKING:
    from dsl.errors import Fault
    from dsl.validation import Given, Report

#: What stands for standard input on the command line, and what its faults name.
_STDIN, _STDIN_NAME = "-", "<stdin>"


@click.command("validate")
@click.argument("what", nargs=-1, metavar="[SLUG|PATH|-]...")
@click.option("--strict", is_flag=True, help="Let warnings fail it too.")
@item_format
def validate(what: tuple[str, ...], strict: bool, form: str) -> None:
    """Check command files without a server, and say everything that is wrong with each.

    Takes slugs, files and folders, and - for standard input; without any, all files of the commands folders and the
    built-in packs. What is there in vain, such as steps that can never run, is warned of. Exits with 1 when there are
    faults, and with 2 when something that is named is not there.
    """
    tally = _Tally()
    reports = tally.count(_reports(load_settings(), what))
    if form == "json":
        print_items(_item(report) for report in reports)
    else:
        _show(reports, Terminal.of_stdout())
        _sum_up(tally, Terminal.of_stdout())
    if tally.faulty or (strict and tally.warnings):
        raise click.exceptions.Exit(EXPECTED)


@dataclass
class _Tally:
    """What was found so far."""

    fine: int = 0
    faulty: int = 0
    faults: int = 0
    warnings: int = 0

    def count(self, reports: Iterable[Report]) -> Iterator[Report]:
        """The reports, counted as they pass."""
        for report in reports:
            self.fine += not report.faults
            self.faulty += bool(report.faults)
            self.faults += len(report.faults)
            self.warnings += len(report.warnings)
            yield report


@click.command("schema")
@click.option("--fixtures", is_flag=True, help="Instead the one of fixture files, for `weir commands test`.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file, and print only its name."
)
def schema(fixtures: bool, output: Path | None) -> None:
    """Print the JSON Schema of command files, for editors: they complete and check with it.

    It knows the step types of this installation, your own among them, and the tables that weir.toml declares.
    """
    from dsl.schema import command_schema, fixture_schema

    schema = fixture_schema() if fixtures else command_schema(installed_step_types(), load_settings().dsl)
    text = json.dumps(schema, indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from error
    click.echo(near(output))


def _reports(settings: Settings, what: Sequence[str]) -> Iterator[Report]:
    """What is said of each named file, folder and command; of everything when nothing is named.

    Raises:
        click.BadParameter: Something that is named is not there.
    """
    from dsl.library import PACKS
    from dsl.validation import validate

    own = [folder for folder in own_folders(settings) if os.path.lexists(folder)]
    sources: Sequence[Path | Given] = _sources(what, (PACKS, *own), settings) if what else (PACKS, *own)
    return validate(sources, installed_step_types(), settings.dsl, packs=PACKS)


def own_folders(settings: Settings) -> tuple[Path, Path]:
    """Where command files of one's own are; either may be missing."""
    return commands_folder(settings), find_home(settings.servers).commands


def _sources(what: Iterable[str], folders: Iterable[Path], settings: Settings) -> list[Path | Given]:
    from dsl.validation import Given

    slugs: list[tuple[str, Path]] | None = None
    sources: list[Path | Given] = []
    missing: list[str] = []
    for name in what:
        path = Path(name)
        if name == _STDIN:
            sources.append(Given(_STDIN_NAME, _standard_input(settings.dsl.max_file_bytes + 1)))
        elif os.sep in name or path.suffix in {".yaml", ".yml"} or (path.exists() and not _is_slug(name)):
            sources.append(path)
            missing += _nothing_at(path)
        else:
            slugs = list(slugs_in(folders, settings)) if slugs is None else slugs
            found = _of_slug(name, slugs)
            sources += found or [path]
            missing += [] if found else _nothing_at(path) if path.exists() else [_unknown(name, slugs)]
    if missing:
        raise click.BadParameter("; ".join(missing), param_hint="SLUG or PATH")
    return sources


def _nothing_at(path: Path) -> list[str]:
    """What is said of a path that leads to nothing that could be checked."""
    from dsl.command_files import command_files

    try:
        if path.is_dir() and not list(command_files(path)):
            return [f"there are no command files in {path}"]
    except OSError:
        return []  # it is there, and what is wrong with it is told as a fault
    return [] if os.path.lexists(path) else [f"there is no file {path}"]


def _standard_input(limit: int) -> bytes:
    if sys.stdin is None:
        raise click.BadParameter("there is no standard input", param_hint="SLUG or PATH")
    return sys.stdin.buffer.read(limit)


def _is_slug(name: str) -> bool:
    from dsl.checking.shape import SLUG

    return SLUG.fullmatch(name) is not None


def slugs_in(folders: Iterable[Path], settings: Settings) -> Iterator[tuple[str, Path]]:
    """The slugs that files have or claim, each with its file."""
    from dsl.command_files import command_files, content_of, slug_claimed

    for folder in folders:
        try:
            names = [name for name, _ in command_files(folder)]
        except OSError:
            continue  # told of when the folder itself is looked at
        for name in names:
            try:
                slug = slug_claimed(content_of(name, settings.dsl.max_file_bytes))
            except OSError:
                slug = None
            yield slug or Path(name).stem, Path(name)


def _of_slug(slug: str, slugs: Iterable[tuple[str, Path]]) -> list[Path | Given]:
    """The files of a slug; a pack only when no other has it."""
    from dsl.library import PACKS

    found = [path for claimed, path in slugs if claimed == slug]
    return [*([path for path in found if path.parent != PACKS] or found)]


def _unknown(name: str, slugs: Iterable[tuple[str, Path]]) -> str:
    from dsl.faults import nearest

    meant = nearest(name, sorted({slug for slug, _ in slugs}))
    return f"there is neither a command nor a file {name[:100]}" + (f" - did you mean {meant}?" if meant else "")


def _item(report: Report) -> dict[str, Any]:
    from api.problems import fault_json

    return {
        "source": _source(report),
        "slug": report.slug,
        "errors": [fault_json(fault) for fault in report.faults],
        "warnings": [fault_json(fault) for fault in report.warnings],
        "in_place_of": None if report.in_place_of is None else f"{report.slug} (pack)",
    }


def _source(report: Report) -> str:
    """What a person calls the file."""
    from dsl.library import PACKS

    is_sound_pack = Path(report.path).parent == PACKS and not report.faults
    return f"{report.slug} (pack)" if is_sound_pack else report.path


def _show(reports: Iterable[Report], terminal: Terminal) -> None:
    counter = Counter(Terminal.of_stderr(), "files looked at")
    for report in reports:
        counter.add()
        told = [("failed", "", fault) for fault in report.faults]
        told += [("skipped", "warning: ", fault) for fault in report.warnings]
        if told or report.in_place_of:
            counter.clear()
        lines = _lines(report.text) if any(fault.line for _, _, fault in told) else []
        for tone, kind, fault in told:
            head, *rest = render(fault, near(Path(report.path)), lines, kind)
            terminal.say(head, tone)
            for line in rest:
                terminal.say(line)
        if report.in_place_of:
            terminal.say(f"{near(Path(report.path))} takes the place of the pack {report.slug}", "dim")
    counter.clear()


def _sum_up(tally: _Tally, terminal: Terminal) -> None:
    if tally.faulty:
        has = "has" if tally.faulty == 1 else "have"
        told = f"{plural(tally.faulty, 'file')} {has} {plural(tally.faults, 'fault')}"
        terminal.say(f"{terminal.marks.failed} {told}", "failed")
    if tally.fine or not tally.faulty:
        verb = "is" if tally.fine == 1 else "are"
        terminal.say(f"{terminal.marks.succeeded} {plural(tally.fine, 'command')} {verb} fine", "succeeded")


def fault_lines(fault: Fault, path: Path, text: bytes) -> list[str]:
    """A fault of a file as a person reads it, with the line it stands in."""
    return render(fault, near(path), _lines(text))


def _lines(text: bytes) -> list[str]:
    return [line.rstrip("\r") for line in text.decode("utf-8-sig", errors="replace").split("\n")]
