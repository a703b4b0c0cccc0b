"""`weir`: the entry of the command line, its help without imports, and its exit codes.

Exit codes: 0 it worked; 1 it did not, for a reason that is said in one line; 2 the command line was wrong; 3 an error
nobody foresaw, whose traceback is in the home's `logs/cli-error.log`; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from telemetry.errors import WeirError

EXPECTED, UNEXPECTED, INTERRUPTED = 1, 3, 130


class Entry(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        target: `module:attribute` of a click command.
        help: Its line in `weir --help`.
    """

    target: str
    help: str


#: Every command, by section of the help. A test holds the lines and the commands' own help together.
SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "The stack": {
        "up": Entry("api.cli.stack:up", "Start everything on this machine."),
        "down": Entry("api.cli.stack:down", "Stop what `weir up` started."),
        "status": Entry("api.cli.stack:status", "Show what runs, since when, and where."),
        "migrate": Entry("api.cli.stack:migrate", "Bring the database's schema up to date."),
        "serve": Entry("api.cli.stack:serve", "Run one process of the stack, for a supervisor of your own."),
        "health": Entry("api.cli.health:health", "Ask one process of the stack whether it can work."),
        "doctor": Entry("api.cli.doctor:doctor", "Look for whatever could keep Weir from working here."),
        "demo": Entry("api.cli.demo:demo", "Show the main job from nothing: start, import, run, trace, check, stop."),
    },
    "Commands and what they do": {
        "run": Entry("api.cli.run:run", "Run a command and show its steps as they finish."),
        "commands": Entry("api.cli.commands:commands", "List, show, write and check commands."),
        "steps": Entry("api.cli.steps:steps", "List and show step types."),
        "executions": Entry("api.cli.executions:executions", "Look at what was run, cancel it, run it again."),
        "queues": Entry("api.cli.queues:queues", "Look at what waits or failed for good, hold it up, set limits."),
        "schedules": Entry("api.cli.schedules:schedules", "Run commands by themselves, and see what became of it."),
        "fragments": Entry("api.cli.fragments:fragments", "Look at fragments, import and export them."),
        "notifications": Entry(
            "api.cli.notifications:notifications", "Read the inbox: what commands and alerts told people."
        ),
    },
    "Telemetry": {
        "telemetry": Entry("api.cli.telemetry:telemetry", "Look at traces and events."),
        "alerts": Entry("api.cli.alerts:alerts", "See what fired, and say what should."),
    },
    "Your shell": {
        "completion": Entry("api.cli.completion:completion", "Print what makes a shell complete `weir`."),
    },
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is called, and not for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in SECTIONS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name].target.partition(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names and their lines, as the help has them: completing imports no command either."""
        from click.shell_completion import CompletionItem

        entries = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
        names = [
            CompletionItem(name, help=entry.help) for name, entry in entries.items() if name.startswith(incomplete)
        ]
        return names or click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in section.items()])


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"weir {version('weir')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def weir() -> None:
    """Runs commands declared in YAML on a durable task queue, and measures every step of them.

    The first three things to do: `weir up --detach`, `weir run todo.add -i body="buy milk"`, `weir telemetry trace ID`.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code: Any = weir.main(
            args=None if arguments is None else list(arguments), prog_name="weir", standalone_mode=False
        )
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        _close_stdout()
        return EXPECTED
    except WeirError as error:
        _explain(error)
        return EXPECTED
    except Exception as error:  # noqa: BLE001 - the last place that can say anything at all
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _explain(error: WeirError) -> None:
    from api.cli.refusals import refusal_lines
    from api.cli.terminal import clean

    first, *more = [clean(line) for line in error.detail.splitlines()] or [""]
    problem = getattr(error, "problem", {})
    # Of an answer the API's code counts, of what failed in the background the code it failed with.
    code = clean(str(problem.get("code") or error.facts.get("cause") or error.code))
    first, faults = refusal_lines(problem, first)
    end = ":" if first.endswith(":") else ""
    print("\n".join([f"weir: {first.removesuffix(':')} ({code}){end}", *more]), file=sys.stderr)
    for line in faults:
        print(f"  - {line}", file=sys.stderr)
    if error.hint:
        print(f"      {clean(error.hint)}", file=sys.stderr)


def _close_stdout() -> None:
    """Whoever read our output has gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> int:
    """One line on standard error; the traceback in the home's log, or below if there is none."""
    import traceback
    from datetime import UTC

    from telemetry.clock import SystemClock

    print(f"weir: an error nobody foresaw: {type(error).__name__}: {error}", file=sys.stderr)
    text = "".join(traceback.format_exception(error))
    try:
        from api.settings import load_settings
        from workers.home import find_home

        folder = find_home(load_settings().servers).logs
        path = folder / "cli-error.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{SystemClock().now().astimezone(UTC).isoformat()} {' '.join(sys.argv[:2])}\n{text}\n")
    except (OSError, WeirError):
        print(text, file=sys.stderr)
    else:
        print(f"      The particulars are in {path}", file=sys.stderr)
    return UNEXPECTED
