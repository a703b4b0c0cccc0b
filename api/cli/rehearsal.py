"""`weir commands test`: commands run against fixtures, without a server."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.checking import fault_lines
from api.cli.faults import near
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_json
from api.cli.step_types import installed_step_types
from api.cli.target import commands_folder
from api.cli.terminal import Terminal, clean, plural
from api.settings import Settings, load_settings
from workers.home import find_home

if TYPE_CHECKING:
    from dsl.command import Command
    from dsl.errors import Fault
    from dsl.rehearsal.differences import Difference
    from dsl.step import Step


@dataclass(frozen=True, slots=True)
class Result:
    """How one test went, or why a file's tests cannot be run.

    Attributes:
        source: The fixture file, or the command file that has the faults.
        name: Of the test; empty when none of the file's could be run.
        command: Slug.
        differences: What is not as expected.
        faults: What is wrong with the file, or with the test.
    """

    source: str
    name: str = ""
    command: str | None = None
    differences: tuple[Difference, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.differences and not self.faults


@click.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@item_format
def run_tests(files: tuple[Path, ...], form: str) -> None:
    """Run commands against fixtures, without a server: what is given stands in for their effects.

    Takes fixture files, and folders of them. Exits with 1 when a test fails.
    """
    settings = load_settings()
    results = list(_results(_fixture_files(files), settings))
    if form == "json":
        print_json({"items": [_item(result) for result in results], "next_cursor": None})
    else:
        _show(results, Terminal.of_stdout())
    if not all(result.passed for result in results):
        raise click.exceptions.Exit(EXPECTED)


def _fixture_files(files: Iterable[Path]) -> Iterator[Path]:
    from dsl.command_files import command_files

    for file in files:
        if file.is_dir():
            yield from (Path(name) for name, _ in command_files(file))
        else:
            yield file


def _results(files: Iterable[Path], settings: Settings) -> Iterator[Result]:
    from dsl.command_files import content_of
    from dsl.errors import CommandInvalid, UnknownCommand
    from dsl.rehearsal.fixtures import check_paths, read_fixtures

    registry = installed_step_types()
    for file in files:
        try:
            text = content_of(str(file), settings.dsl.max_file_bytes)
            fixtures = read_fixtures(text, settings.dsl, source=str(file))
            command = _command(fixtures.file.command, file, settings, registry)
            check_paths(fixtures, command)
        except CommandInvalid as invalid:
            yield Result(invalid.source, faults=invalid.faults)
        except UnknownCommand as unknown:
            yield Result(str(file), faults=(_as_fault(unknown),))
        except OSError as error:
            raise click.BadParameter(f"{error.filename}: {error.strerror}", param_hint="FILE") from error
        else:
            for case in fixtures.cases():
                yield _run(str(file), command, case, registry, settings)


def _command(name: str, file: Path, settings: Settings, registry: Mapping[str, Step]) -> Command:
    """The command of a fixture file: a file seen from it, or a slug."""
    from dsl.check import load
    from dsl.command_files import content_of
    from dsl.library import PACKS, Library

    if os.sep in name or name.endswith((".yaml", ".yml")):
        path = os.path.normpath(file.parent / name)
        return load(content_of(path, settings.dsl.max_file_bytes), registry, settings.dsl, origin=path)
    folders = (PACKS, commands_folder(settings), find_home(settings.servers).commands)
    return Library(folders, registry, settings.dsl).get(name)


def _run(source: str, command: Command, case: Any, registry: Mapping[str, Step], settings: Settings) -> Result:  # noqa: ANN401 - dsl.rehearsal.fixtures.Case
    from dsl.rehearsal.differences import differences
    from dsl.rehearsal.run import OutputNotGiven, rehearse

    try:
        found = rehearse(command, case, registry, settings.dsl)
    except OutputNotGiven as missing:
        return Result(source, case.name, command.slug, faults=(_as_fault(missing),))
    return Result(source, case.name, command.slug, differences(case.expected, found))


def _as_fault(error: Any) -> Fault:  # noqa: ANN401 - a WeirError that says where
    from dsl.errors import Fault

    path = str(error.facts.get("path", "command"))
    return Fault(error.code, error.detail, path, expected=error.hint)


def _item(result: Result) -> dict[str, Any]:
    from api.problems import fault_json

    return {
        "source": result.source,
        "command": result.command,
        "name": result.name,
        "passed": result.passed,
        "differences": [_difference(one) for one in result.differences],
        "errors": [fault_json(fault) for fault in result.faults],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    """What is not there at all is left out: null is a value."""
    from dsl.rehearsal.differences import MISSING

    sides = {"expected": difference.expected, "found": difference.found}
    return {"at": difference.at, **{side: value for side, value in sides.items() if value is not MISSING}}


def _show(results: Sequence[Result], terminal: Terminal) -> None:
    for result in results:
        title = f"{result.command}: {result.name}" if result.name else near(Path(result.source))
        mark = terminal.marks.succeeded if result.passed else terminal.marks.failed
        terminal.say(clean(f"{mark} {title}"), "succeeded" if result.passed else "failed")
        for line in _particulars(result):
            terminal.say(f"    {line}")
    failed = sum(not result.passed for result in results)
    counted = f"{plural(len(results), 'test')}, {failed} failed" if failed else f"{plural(len(results), 'test')} passed"
    terminal.say(counted, "failed" if failed else "succeeded")


def _particulars(result: Result) -> Iterator[str]:
    from dsl.rehearsal.differences import shown

    for fault in result.faults:
        if fault.line is None:
            yield clean(fault.message)
            if fault.expected:
                yield clean(fault.expected)
        else:
            yield from fault_lines(fault, Path(result.source))
    for difference in result.differences:
        yield clean(difference.at)
        if difference.at == "path":
            compared = difflib.ndiff(difference.expected, difference.found)
            yield from (clean(f"  {line}") for line in compared if not line.startswith("?"))
        else:
            yield clean(f"  expected: {shown(difference.expected)}")
            yield clean(f"  found:    {shown(difference.found)}")
