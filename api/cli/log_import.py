"""`weir telemetry import`: other systems' logs as events."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from api.cli.interrupt import tidy
from api.cli.main import EXPECTED
from api.cli.opened_store import opened_store, pseudonyms
from api.cli.output import Column, Item, item_format, print_json, table
from api.cli.progress import progress, sized
from api.cli.stack import home_option, load_home
from api.cli.terminal import Terminal, clean, plural

if TYPE_CHECKING:
    from telemetry.adapters.importing import Imported

#: Lines of a reason that are named on a terminal.
_SHOWN = 5
#: How a file begins that is compressed by gzip (RFC 1952).
_GZIP: Final = b"\x1f\x8b"


@click.command("import", short_help="Bring in another system's log.")
@click.argument("file", metavar="FILE", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    "mapping_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML: which line is which event, and where its fields are.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing, say what would be.")
@click.option("--remove-all", is_flag=True, help="Delete every event that was brought in, and bring in none.")
@item_format
@home_option
def import_log(  # noqa: PLR0913 - one per option
    file: Path | None, mapping_path: Path | None, dry_run: bool, remove_all: bool, form: str, folder: Path | None
) -> None:
    """Bring in a log of JSON lines of another system as events.

    The mapping says which line is which event of the catalogue (docs/reference/events.md) and where its fields are;
    what it does not name is left out. Lines that fit nothing are counted by reason and named by their number: their
    text goes nowhere. What is brought in has the `request_source` `import`.

    FILE may be compressed by gzip; `-` is standard input. Importing a file again, also one that has grown or was
    compressed meanwhile, stores only what is new. Exits with 1 when no line became an event.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself; with --dry-run, none.
    """
    if remove_all:
        _remove_all(folder, form, is_alone=file is None and mapping_path is None and not dry_run)
        return
    if file is None or mapping_path is None:
        raise click.UsageError("Say which FILE, and with --mapping what its lines are.")
    from api.cli.mapping_files import read_mapping
    from telemetry.adapters.importing import import_lines
    from telemetry.adapters.lines import Lines
    from telemetry.clock import SystemClock

    settings, _ = load_home(folder)
    mapping = read_mapping(mapping_path, settings.workers.dsl)
    keys = pseudonyms(folder)
    if keys is None:
        message = "there is no key to hide users with: start the stack once, or set WEIR_TELEMETRY_PSEUDONYM_KEY"
        raise click.UsageError(message)
    lines = Lines(mapping, keys)
    opening = nullcontext() if dry_run else opened_store(folder, "weir telemetry import")
    with (
        _opened(file) as (source, file_bytes, position),
        opening as connection,
        tidy(),
        progress("importing", file_bytes or None, shown=sized) as bar,
    ):

        def advance(_: int) -> None:
            bar.advance(position() - bar.done)

        try:
            imported = import_lines(source, lines, SystemClock().unix_us(), connection, advance)
        except KeyboardInterrupt:
            Terminal.of_stderr().say("What is stored stays; import the file again for the rest.")
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"{file} is compressed and damaged; what is stored stays"
            raise click.ClickException(message) from error
    told = _json(imported, dry_run=dry_run)
    if form == "json":
        print_json(told)
    else:
        _show(told, file)
    if imported.lines > imported.ignored and not imported.types:
        raise click.exceptions.Exit(EXPECTED)


def _remove_all(folder: Path | None, form: str, *, is_alone: bool) -> None:
    if not is_alone:
        raise click.UsageError("--remove-all goes alone.")
    from telemetry.foreign import remove

    with opened_store(folder, "weir telemetry import") as connection:
        removed = remove(connection, "import")
    if form == "json":
        print_json({"removed": removed})
    else:
        Terminal.of_stdout().say(f"{plural(removed, 'imported event')} removed")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int, Callable[[], int]]]:
    """What is in a file, or comes on standard input; how many bytes the file has; and how far in it the reader is.

    Compressed lines are read uncompressed. Standard input has neither length nor position.
    """
    if path == Path("-"):
        with _uncompressed(cast("BufferedReader", sys.stdin.buffer)) as lines:
            yield lines, 0, lambda: 0
        return
    try:
        file = path.open("rb")
        file.peek()  # a folder opens
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="FILE") from error
    with file, _uncompressed(file) as lines:
        yield lines, path.stat().st_size, file.tell


@contextmanager
def _uncompressed(file: BufferedReader) -> Iterator[BinaryIO]:
    """By its first bytes, whatever its name."""
    if file.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="rb") as lines:
        yield cast("BinaryIO", lines)


def _json(imported: Imported, *, dry_run: bool) -> dict[str, Any]:
    misfits = sorted(imported.misfits.items(), key=lambda each: -each[1].count)
    return {
        "dry_run": dry_run,
        "lines": imported.lines,
        "events": imported.types.total(),
        "stored": imported.stored,
        "already_stored": imported.known,
        "ignored": imported.ignored,
        "hidden_names": imported.hidden_names,
        "event_types": dict(sorted(imported.types.items())),
        "misfits": [{"reason": reason, "count": each.count, "lines": each.lines} for reason, each in misfits],
    }


def _show(told: dict[str, Any], file: Path) -> None:
    terminal = Terminal.of_stdout()
    stored = (
        "nothing stored: this was a dry run"
        if told["dry_run"]
        else f"{told['stored']} stored, {told['already_stored']} were there"
    )
    terminal.say(
        f"{clean(str(file))}: {plural(told['lines'], 'line')}, {plural(told['events'], 'event')}; {stored}"
        + (f"; {told['ignored']} ignored" if told["ignored"] else "")
    )
    for name, count in told["event_types"].items():
        terminal.say(f"  {count:>10}  {name}")
    if told["hidden_names"]:
        hidden = plural(told["hidden_names"], "name")
        terminal.say(f"{hidden} of no list in the mapping (`names:`) became hashes", "dim")
    if told["misfits"]:
        terminal.say()
        for line in table(told["misfits"], _MISFITS, terminal):
            terminal.say(line)


def _lines(misfit: Item) -> str:
    shown = ", ".join(map(str, misfit["lines"][:_SHOWN]))
    return f"{shown}, …" if misfit["count"] > _SHOWN else shown


_MISFITS = (
    Column("NO EVENT BECAUSE", lambda misfit: misfit["reason"], tone=lambda _: "failed"),
    Column("LINES", lambda misfit: str(misfit["count"]), right=True),
    Column("FIRST", _lines, shrinks=True),
)
