"""`weir telemetry test`: sample data, and taking it away again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click
from click.core import ParameterSource

from api.cli.interrupt import tidy
from api.cli.opened_store import opened_store, pseudonyms
from api.cli.output import item_format, local_time, print_json
from api.cli.progress import progress
from api.cli.stack import home_option
from api.cli.terminal import Terminal, plural

#: Whose key hides samples' users where the installation has none yet.
_NO_KEY = b"samples of an installation without a key"


@click.command("test", short_help="Store sample events, or remove them.")
@click.option("--count", type=click.IntRange(1, 100_000_000), default=1000, show_default=True, help="How many events.")
@click.option(
    "--components",
    metavar="NAME[,NAME]",
    help="Only events of these: command, dsl, fragment, http, schedule, tool, llm, chat. All of them unless given.",
)
@click.option(
    "--days", type=click.IntRange(1, 400), default=7, show_default=True, help="Over how many days, up to --until."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="The same one makes the same events."
)
@click.option("--until", metavar="TIME", help="Where they end (RFC 3339); now unless given.")
@click.option("--remove", is_flag=True, help="Delete every sample that is stored, and store none.")
@item_format
@home_option
def test(  # noqa: PLR0913 - one argument per option
    count: int,
    components: str | None,
    days: int,
    seed: int,
    until: str | None,
    remove: bool,
    form: str,
    folder: Path | None,
) -> None:
    """Store events as a small team's work would have made them: for trying things out, and for measuring.

    Whole executions with their steps, retries, failures that come in bursts, conversations, requests, schedules;
    busier by day than by night. All are marked: `request_source` is `sample`, and every command's slug begins with
    `sample.`. Nothing is run, and `weir telemetry verify` says the same as before. `--remove` deletes them, and
    nothing else.

    Stopped half-way, the same command line with the same --seed and --until stores the rest.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself.
    """
    if remove:
        _refuse_beside_remove(click.get_current_context())
        _remove(form, folder)
        return
    from telemetry.privacy import Pseudonyms
    from telemetry.samples.generator import Samples, user_names
    from telemetry.sampling import fill

    names = _components(components)
    end = _end(until)
    user = (pseudonyms(folder) or Pseudonyms(_NO_KEY)).user
    samples = Samples(seed, frozenset(names), [user(name) for name in user_names()])
    with opened_store(folder, "weir telemetry test") as connection:
        try:
            with tidy(), progress("making samples", count) as bar:
                filled = fill(connection, samples, count, timedelta(days=days), end, bar.advance)
        except KeyboardInterrupt:
            again = ["weir", "telemetry", "test", "--count", str(count), "--days", str(days), "--seed", str(seed)]
            again += [*(["--components", components] if components else ()), "--until", end.isoformat()]
            Terminal.of_stderr().say(f"What is stored stays. The rest: {shlex.join(again)}")
            Terminal.of_stderr().say("None of it: weir telemetry test --remove")
            raise
    told = {
        "stored": filled.stored,
        "already_stored": filled.known,
        "components": names,
        "seed": seed,
        "since": (end - timedelta(days=days)).isoformat(),
        "until": end.isoformat(),
        "days_left_out": [day.date().isoformat() for day in filled.days_left_out],
    }
    if form == "json":
        print_json(told)
        return
    terminal = Terminal.of_stdout()
    there = f", {filled.known} were there" if filled.known else ""
    terminal.say(f"{plural(filled.stored, 'sample')} stored{there}, up to {local_time(end.isoformat())}, seed {seed}")
    if filled.days_left_out:
        left_out = ", ".join(day.date().isoformat() for day in filled.days_left_out)
        terminal.say(f"none for days whose own events are not kept: {left_out}", "dim")
    terminal.say("Remove them with: weir telemetry test --remove", "dim")


def _refuse_beside_remove(context: click.Context) -> None:
    """Of which samples cannot be said: `--remove --count 10` that takes all of them would be a surprise."""
    for name in ("count", "components", "days", "seed", "until"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--remove deletes every sample, and takes no --{name}")


def _remove(form: str, folder: Path | None) -> None:
    from telemetry.foreign import count_days, remove

    with (
        opened_store(folder, "weir telemetry test") as connection,
        tidy(),
        progress("removing samples", count_days(connection)) as bar,
    ):
        removed = remove(connection, "sample", lambda _: bar.advance())
    if form == "json":
        print_json({"removed": removed})
    else:
        Terminal.of_stdout().say(f"{plural(removed, 'sample')} removed")


def _components(text: str | None) -> Sequence[str]:
    """The components that are asked for, in their order.

    Raises:
        BadParameter: There is no such component.
    """
    from telemetry.components import component_name, nearest
    from telemetry.samples.generator import COMPONENTS

    if text is None:
        return COMPONENTS
    asked = [component_name(name) for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in COMPONENTS:
            near = nearest(name, COMPONENTS)
            meant = f"did you mean {near}?" if near else f"there are {', '.join(COMPONENTS)}"
            raise click.BadParameter(f"no samples of {name!r}; {meant}", param_hint="--components")
    if not asked:
        raise click.BadParameter(f"there are {', '.join(COMPONENTS)}", param_hint="--components")
    return [name for name in COMPONENTS if name in asked]


def _end(text: str | None) -> datetime:
    """Where samples end: now, unless told otherwise; never later.

    Raises:
        BadParameter: It is no time, or in the future.
    """
    from datetime import UTC

    from api.cli.times import instant
    from telemetry.clock import SystemClock

    now = SystemClock().now()
    if text is None:
        return now
    end = datetime.fromisoformat(instant(text, "--until")).astimezone(UTC)
    if end > now:
        raise click.BadParameter(f"{text!r} is in the future", param_hint="--until")
    return end
