"""`weir run`: submit a command, follow it, show what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from api.cli.completion import slugs
from api.cli.following import follow_to_end, wait_option
from api.cli.keys import key_header
from api.cli.output import item_format, local_time, print_json
from api.cli.target import open_client
from api.cli.terminal import Terminal
from api.cli.times import instant, span
from api.client import Client, segment
from api.json_text import NotJson, parse_strictly


@click.command(short_help="Run a command and show its steps as they finish.")
@click.argument("slug", shell_complete=slugs)
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help='One input; its type is the command\'s. A list or a map is JSON: -i tags=\'["a", "b"]\'.',
)
@click.option(
    "--input-file", type=click.Path(path_type=Path), help="A JSON object of inputs; `-` reads standard input."
)
@click.option("--dry-run", is_flag=True, help="Do everything and keep nothing; says what would have changed.")
@click.option("--detach", is_flag=True, help="Print the execution's id and do not wait.")
@click.option("--user", help="On whose behalf.")
@click.option("--space", help="Which space it works in.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 is the most urgent, 9 the least.")
@click.option("--at", "at", metavar="TIME", help="Run it then: 2026-03-01T09:00, here or with an offset. Detaches.")
@click.option("--in", "after", metavar="DURATION", help="Run it after that: 90s, 15m, 2h. Detaches.")
@click.option("--expires-in", metavar="DURATION", help="Never begin it later than this after it is due.")
@wait_option
@click.option(
    "--idempotency-key", "key", metavar="KEY", help="Sent again with the same KEY, it is the same execution for a day."
)
@item_format
def run(  # noqa: PLR0913 - one argument per option
    slug: str,
    pairs: tuple[str, ...],
    input_file: Path | None,
    dry_run: bool,
    detach: bool,
    user: str | None,
    space: str | None,
    priority: int | None,
    at: str | None,
    after: str | None,
    expires_in: str | None,
    wait_s: float | None,
    key: str | None,
    form: str,
) -> None:
    """Run the command SLUG, show its steps as they finish, then its result.

    With --at or --in it is put off, and nothing waits for it, unless --wait says how long.

    Exits with 1 when the execution did not succeed, or was not final within --wait. Interrupted, it goes on running.
    """
    given: dict[str, Any] = {
        "dry_run": dry_run,
        "user": user,
        "space": space,
        "priority": priority,
        "run_at": due_at(at, after),
        "expires_in": expires_in,
    }
    body = {key: value for key, value in given.items() if value is not None and value is not False}
    headers = key_header(key)
    with open_client() as client:
        body["inputs"] = read_inputs(input_file) | coerce_inputs(client, slug, pairs)
        execution = client.post(f"/api/commands/{segment(slug)}/executions", body, headers=headers).body
        if detach or (execution["state"] == "scheduled" and wait_s is None):
            print_json(execution) if form == "json" else print(execution["id"])
            if execution["state"] == "scheduled":
                Terminal.of_stderr().say(f"it will run at {local_time(execution['run_at'])}", "dim")
            return
        raise click.exceptions.Exit(follow_to_end(client, execution, wait_s, form))


def due_at(at: str | None, after: str | None) -> str | None:
    """The instant that --at or --in mean, with its offset; none without them."""
    if at is not None and after is not None:
        raise click.UsageError("--at and --in exclude each other.")
    if at is not None:
        return instant(at, "--at")
    if after is None:
        return None
    from telemetry.clock import SystemClock

    try:
        return (SystemClock().now() + span(after, "--in")).isoformat()
    except OverflowError as error:
        raise click.BadParameter(f"{after!r} is longer than time is told", param_hint="--in") from error


def read_inputs(path: Path | None) -> dict[str, Any]:
    """The inputs in a file; none without one."""
    if path is None:
        return {}
    name = "standard input" if str(path) == "-" else str(path)
    try:
        inputs = parse_strictly(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="--input-file") from error
    except NotJson as error:
        raise click.BadParameter(f"{name} {error}", param_hint="--input-file") from error
    except ValueError as error:  # a NUL in the path
        raise click.BadParameter(f"{name!r} is not a path", param_hint="--input-file") from error
    if not isinstance(inputs, dict):
        raise click.BadParameter(f"{name} is not a JSON object", param_hint="--input-file")
    return inputs


def coerce_inputs(client: Client, slug: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """`NAME=VALUE` texts as the types that the command declares."""
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="-i")
        if name in texts:
            raise click.BadParameter(f"{name} is given twice", param_hint="-i")
        texts[name] = value
    if not texts:
        return {}
    from dsl.inputs import coerce

    schema = client.get(f"/api/commands/{segment(slug)}")["inputs"]
    return dict(coerce(schema, texts))
