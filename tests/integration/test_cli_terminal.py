"""What a terminal gets and a file does not: a pager, colours, and words that a shell completes."""

from __future__ import annotations

import io
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from fixtures.apis import Weir

from api.cli.completion import VARIABLE
from api.cli.main import SECTIONS, LazyGroup, main
from api.cli.main import weir as weir_itself
from api.cli.pager import paged, pager_of

LINES = [f"line {number}" for number in range(100)]


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@click.command()
@click.option("--count", default=100)
@click.option("--fail", is_flag=True)
@paged
def lines(count: int, fail: bool) -> None:
    for line in LINES[:count]:
        click.echo(line)
    if fail:
        raise click.UsageError("no more")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Tty:
    """A terminal of 24 lines, for `typed`."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Tty()


def typed(terminal: Tty, *arguments: str) -> None:
    with redirect_stdout(terminal):
        lines.main(list(arguments), standalone_mode=False)
        assert sys.stdout is terminal


@pytest.fixture
def paged_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pager writes what it was given, below what `LESS` is."""
    taken, program = tmp_path / "taken", tmp_path / "pager"
    program.write_text(f'#!/bin/sh\necho "LESS=$LESS" > {shlex.quote(str(taken))}\ncat >> {shlex.quote(str(taken))}\n')
    program.chmod(0o700)
    monkeypatch.setenv("WEIR_PAGER", str(program))
    monkeypatch.delenv("LESS", raising=False)
    return taken


def test_what_is_longer_than_the_terminal_goes_to_the_pager(terminal: Tty, paged_to: Path) -> None:
    typed(terminal)

    assert terminal.getvalue() == ""
    assert paged_to.read_text().splitlines() == ["LESS=FRX", *LINES]


def test_what_fits_or_is_wanted_at_once_does_not(terminal: Tty, paged_to: Path) -> None:
    typed(terminal, "--count", "20")
    typed(terminal, "--no-pager")

    assert terminal.getvalue().splitlines() == LINES[:20] + LINES
    assert not paged_to.exists()


def test_a_file_is_never_paged(paged_to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines.main([], standalone_mode=False)

    assert capsys.readouterr().out.splitlines() == LINES
    assert not paged_to.exists()


def test_what_fails_still_shows_what_was_printed(terminal: Tty, paged_to: Path) -> None:
    with pytest.raises(click.UsageError):
        typed(terminal, "--count", "50", "--fail")

    assert paged_to.read_text().splitlines()[1:] == LINES[:50]


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"WEIR_PAGER": "cat", "PAGER": "sh"}, None),
        ({"PAGER": ""}, None),
        ({"PAGER": "sh -c 'x y'"}, ["sh", "-c", "x y"]),
        ({"PAGER": "no-such-program-here"}, None),
        ({"PAGER": "'unclosed"}, None),
    ],
)
def test_the_pager_is_the_one_that_is_named(environ: dict[str, str], found: list[str] | None) -> None:
    assert pager_of(environ) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0

    printed = capsys.readouterr()
    assert "_WEIR_COMPLETE" in printed.out
    assert printed.err == ""


def completed(words: str) -> list[str]:
    """What a shell is offered for the last of the words."""
    *arguments, incomplete = words.split(" ")[1:]
    return [
        item.value for item in ShellComplete(weir_itself, {}, "weir", VARIABLE).get_completions(arguments, incomplete)
    ]


def test_names_of_commands_are_completed_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for section in SECTIONS.values() for name in section]

    def imported(_group: LazyGroup, _context: click.Context, name: str) -> None:
        pytest.fail(f"{name} was imported")

    monkeypatch.setattr(LazyGroup, "get_command", imported)
    assert completed("weir s") == [name for name in names if name.startswith("s")]


def test_components_and_types_of_events_are_completed() -> None:
    assert "command.execution.queued" in completed("weir telemetry query --event-type command.execution")
    assert completed("weir telemetry overview --component sch") == ["schedule"]


@pytest.mark.req("S-10")
def test_slugs_are_completed_while_the_api_answers_and_nothing_is_said_otherwise(
    weir: Weir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weir("commands", "list").code == 0
    assert completed("weir run todo.a") == ["todo.add"]
    monkeypatch.setenv("WEIR_URL", "http://127.0.0.1:1")
    assert completed("weir run todo.a") == []
    monkeypatch.setenv("WEIR_URL", "no address")
    assert completed("weir telemetry performance --command t") == []
    assert capsys.readouterr() == ("", "")
