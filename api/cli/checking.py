"""`weir commands validate` and `schema`: command files looked at without a server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.command_sources import own_folders, slugs_in, sources_of
from api.cli.faults import near, render
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_items
from api.cli.step_types import installed_step_types
from api.cli.terminal import Counter, Terminal, plural
from api.settings import Settings, load_settings

if TYPE_CHECKING:
    from dsl.errors import Fault
    from dsl.validation import Report


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
    from telemetry.clock import SystemClock

    folders = [PACKS, *(folder for folder in own_folders(settings) if os.path.lexists(folder))]
    sources = sources_of(what, folders, settings) if what else folders
    slugs = {slug for slug, _ in slugs_in((*folders, *sources), settings)}
    now = SystemClock().now()
    return validate(sources, installed_step_types(), settings.dsl, packs=PACKS, slugs=slugs, now=now)


def _item(report: Report) -> dict[str, Any]:
    from api.problems import report_json

    return report_json(report, _source(report))


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
