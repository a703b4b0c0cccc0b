"""`weir commands test`: commands run against fixtures, without a server."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from api.cli.checking import fault_lines
from api.cli.command_sources import own_folders
from api.cli.faults import near
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_items
from api.cli.step_types import installed_step_types
from api.cli.terminal import Terminal, clean, plural
from api.settings import Settings, load_settings

if TYPE_CHECKING:
    from dsl.command import Command
    from dsl.errors import Fault
    from dsl.rehearsal.differences import Difference
    from dsl.settings import DslSettings
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
        text: Of the file that has the faults.
    """

    source: str
    name: str = ""
    command: str | None = None
    differences: tuple[Difference, ...] = ()
    faults: tuple[Fault, ...] = ()
    text: bytes = field(default=b"", repr=False)

    @property
    def passed(self) -> bool:
        return not self.differences and not self.faults


@click.command("test")
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE|FOLDER]...")
@item_format
def run_tests(files: tuple[Path, ...], form: str) -> None:
    """Run commands against fixtures, without a server: what is given stands in for their effects.

    Takes fixture files, and folders of them; without any, the folder `tests` beside your command files. Exits with 1
    when a test fails, and with 2 when there are none.
    """
    settings = load_settings()
    results = list(_Tests(settings, installed_step_types()).run(_fixture_files(files or _own_tests(settings))))
    if form == "json":
        print_items(_item(result) for result in results)
    else:
        _show(results, Terminal.of_stdout())
    if not all(result.passed for result in results):
        raise click.exceptions.Exit(EXPECTED)


def _own_tests(settings: Settings) -> Sequence[Path]:
    folders = [folder / "tests" for folder in own_folders(settings)]
    found = [folder for folder in folders if folder.is_dir()]
    if not found:
        raise click.BadParameter(f"there is no folder {near(folders[0])}", param_hint="FILE or FOLDER")
    return found


def _fixture_files(files: Iterable[Path]) -> Sequence[Path]:
    from dsl.command_files import files_at

    found: list[Path] = []
    for file in files:
        inside = [Path(name) for name in files_at(file)]
        if not inside:
            raise click.BadParameter(f"there are no fixture files in {near(file)}", param_hint="FILE or FOLDER")
        found += inside
    return found


class _Tests:
    """Runs fixture files, one after the other."""

    def __init__(self, settings: Settings, registry: Mapping[str, Step]) -> None:
        from dsl.library import PACKS, Library

        self._settings = settings.dsl
        self._registry = registry
        self._library = Library((PACKS, *own_folders(settings)), registry, settings.dsl)

    def run(self, files: Iterable[Path]) -> Iterator[Result]:
        """Every test of every file, in order."""
        for file in files:
            yield from self._file(file)

    def _file(self, file: Path) -> Iterator[Result]:
        from dsl.errors import CommandInvalid, UnknownCommand
        from dsl.rehearsal.fixtures import check_paths, read_fixtures

        try:
            text = self._content(file)
        except OSError as error:
            raise click.BadParameter(f"{file}: {error.strerror}", param_hint="FILE or FOLDER") from error
        try:
            fixtures = read_fixtures(text, self._settings, source=str(file))
            command = self._command(fixtures.file.command, file)
            check_paths(fixtures, command)
        except CommandInvalid as invalid:
            at_fault = text if invalid.source == str(file) else self._content(Path(invalid.source))
            yield Result(invalid.source, faults=invalid.faults, text=at_fault)
        except UnknownCommand as unknown:
            fault = fixtures.no_command(unknown.detail, cast("str | None", unknown.facts["nearest"]))
            yield Result(str(file), faults=(fault,), text=text)
        except OSError as error:
            fault = fixtures.no_command(f"the file {near(Path(error.filename))} cannot be read: {error.strerror}")
            yield Result(str(file), faults=(fault,), text=text)
        else:
            for case in fixtures.cases():
                yield _run(str(file), command, case, self._registry, self._settings)

    def _content(self, file: Path) -> bytes:
        from dsl.command_files import content_of

        return content_of(str(file), self._settings.max_file_bytes)

    def _command(self, name: str, file: Path) -> Command:
        """The command of a fixture file: a file seen from it, or a slug."""
        from dsl.check import load

        if os.sep in name or name.endswith((".yaml", ".yml")):
            path = os.path.normpath(file.parent / name)
            return load(self._content(Path(path)), self._registry, self._settings, origin=path)
        return self._library.get(name)


def _run(source: str, command: Command, case: Any, registry: Mapping[str, Step], settings: DslSettings) -> Result:  # noqa: ANN401 - dsl.rehearsal.fixtures.Case
    from dsl.rehearsal.differences import differences
    from dsl.rehearsal.run import OutputNotGiven, rehearse

    try:
        found = rehearse(command, case, registry, settings)
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
            yield from fault_lines(fault, Path(result.source), result.text)
    for difference in result.differences:
        yield clean(difference.at)
        if difference.at == "path":
            compared = difflib.ndiff(difference.expected, difference.found)
            yield from (clean(f"  {line}") for line in compared if not line.startswith("?"))
        else:
            yield clean(f"  expected: {shown(difference.expected)}")
            yield clean(f"  found:    {shown(difference.found)}")
