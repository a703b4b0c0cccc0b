"""`weir telemetry export`: events, and records beside them, to files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.event_options import as_typed, explain_filter, which_events
from api.cli.interrupt import tidy
from api.cli.main import INTERRUPTED
from api.cli.metric_options import DIMENSIONS, WIDTHS
from api.cli.output import Item
from api.cli.stack import home_option, load_home, running_urls
from api.cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from psycopg import Connection

    from telemetry.export.request import ExportRequest
    from telemetry.export.writing import Export

_FORMS = ("jsonl", "json", "csv", "parquet")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*(b|kb|mb|gb|tb)?", re.ASCII | re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@dataclass(frozen=True, slots=True)
class HowToWrite:
    """What was asked of the files.

    Attributes:
        form: `jsonl`, `json` or `csv`.
        is_compressed: Whether they are gzip.
        split_by: What events get files of their own for.
        beside: Records that are written too.
        metrics_width: Of the buckets of metrics.
        metrics_by: What they tell apart, if that is said.
    """

    form: str
    is_compressed: bool = False
    split_by: str | None = None
    beside: tuple[str, ...] = ()
    metrics_width: str = "hour"
    metrics_by: str | None = None

    @property
    def suffix(self) -> str:
        """How names end."""
        return f".{self.form}{'.gz' * self.is_compressed}"


def form_of(target: Path | None, form: str | None) -> str:
    """The form that is asked for, or that the file's name tells; JSON lines otherwise.

    Raises:
        UsageError: It is one that is not written here, or no file at all.
    """
    if target is not None and str(target) == "-":
        hint = "`weir telemetry query` writes to standard output, as --format json or csv"
        raise click.UsageError(f"an export has files beside it, and cannot go through a pipe; {hint}")
    told = "" if target is None else target.name.lower().removesuffix(".gz").rpartition(".")[2]
    if form and told in _FORMS and told != form:
        raise click.UsageError(f"--format is {form}, and the file's name ends with .{told}")
    form = form or (told if told in _FORMS else "jsonl")
    if form == "parquet":
        from telemetry.export.request import NO_PARQUET

        raise click.UsageError(NO_PARQUET)
    return form


def _bytes(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """`100MB`, or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    size = 0 if match is None else int(float(match[1]) * _UNITS[(match[2] or "b").lower()])
    if size == 0:
        raise click.BadParameter(f"{text!r} is not a size such as 100MB or 1.5GB")
    return size


@click.command("export", short_help="Write events to files: JSON lines, JSON or CSV.")
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="File to write, or a folder for it; ./weir-telemetry-<UTC>.<form> unless given.",
)
@click.option("--format", "form", type=click.Choice(_FORMS), help="By the name of the file unless given, else jsonl.")
@click.option("--compress", "is_compressed", is_flag=True, help="Write gzip; names end in .gz.")
@click.option(
    "--split-by",
    type=click.Choice(["component", "event_type", "day"]),
    help="A file for the events of each: NAME.<which>.<form>.",
)
@click.option("--include-metrics", "metrics", is_flag=True, help="Also metrics, to NAME.metrics.<form>.")
@click.option(
    "--metrics-width", type=click.Choice(WIDTHS), default="hour", show_default=True, help="How long their buckets are."
)
@click.option(
    "--metrics-by",
    type=click.Choice(DIMENSIONS),
    help="What they tell apart; operations, or the --user or --space, unless given.",
)
@click.option("--include-health", "health", is_flag=True, help="Also what check-ups found, to NAME.health.<form>.")
@click.option(
    "--include-performance", "performance", is_flag=True, help="Also performance, to NAME.performance.<form>."
)
@which_events()
@click.option(
    "--max-size", default="100MB", show_default=True, callback=_bytes, metavar="SIZE", help="Of one file, at most."
)
@click.option("--resume", "is_resumed", is_flag=True, help="Go on with what was broken off at this --output.")
@click.option("--force", is_flag=True, help="Replace what is there, and begin anew.")
@home_option
def export(  # noqa: PLR0913 - one per option
    target: Path | None,
    form: str | None,
    is_compressed: bool,
    split_by: str | None,
    metrics: bool,
    metrics_width: str,
    metrics_by: str | None,
    health: bool,
    performance: bool,
    max_size: int,
    is_resumed: bool,
    force: bool,
    folder: Path | None,
    **given: Any,  # noqa: ANN401 - options
) -> int:
    """Write stored events to files, oldest first; all options that filter are those of `weir telemetry query`.

    A file has its name once it is whole, with its checksum beside it (`sha256sum -c`) and a manifest that says what is
    in it. What was broken off, or would get larger than --max-size, is gone on with by the same options and --resume,
    to the same bytes.

    Opens the database of WEIR_DATABASE_URL, or of the running stack, itself, so that it works without the API.
    """
    if is_resumed and force:
        raise click.UsageError("--resume and --force exclude each other")
    if is_resumed and target is None:
        raise click.UsageError("--resume needs the --output that was begun")
    compresses = is_compressed or (target is not None and target.suffix == ".gz")
    wanted = {"metrics": metrics, "health": health, "performance": performance}
    beside = tuple(name for name, is_wanted in wanted.items() if is_wanted)
    how = HowToWrite(form_of(target, form), compresses, split_by, beside, metrics_width, metrics_by)
    return export_events(target, how, given, folder, max_size=max_size, is_resumed=is_resumed, force=force)


def export_events(  # noqa: PLR0913 - one keyword per option
    target: Path | None,
    how: HowToWrite,
    typed: Mapping[str, Any],
    folder: Path | None = None,
    *,
    max_size: int | None = None,
    is_resumed: bool = False,
    force: bool = False,
) -> int:
    """Write the events that the options ask for, and say what was written; the exit code.

    Args:
        target: The file, or a folder.
        how: What to write.
        typed: Options of `which_events`.
        folder: The home.
        max_size: Bytes of a file, at most.
        is_resumed: Go on with what was broken off.
        force: Replace what is there.

    Raises:
        ExportError, StoreUnavailable: As `Export.run`.
        UsageError: An option's value is none.
    """
    from telemetry.clock import SystemClock
    from telemetry.errors import FilterInvalid
    from telemetry.export.journal import Place
    from telemetry.export.writing import MAX_BYTES, Export, Limit, open_reader
    from workers.export_sources import sources_of

    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    _require_schema(url)
    clock = SystemClock()
    place = _target(target, how, f"{clock.now():%Y%m%dT%H%M%SZ}")
    asked = hashlib.sha256(json.dumps([asdict(how), as_typed(typed)], sort_keys=True).encode()).hexdigest()
    with closing(open_reader(url)) as connection:
        try:
            request = _kept(place, how, asked) if is_resumed else _request(connection, how, typed, folder)
        except FilterInvalid as error:
            from api.problems import of_error

            return explain_filter(of_error(error).body, typed["filter"] or "")
        limit = Limit(max_size or MAX_BYTES)
        exported = Export(request, sources_of(request), place, asked=asked, limit=limit, clock=clock)
        with Place(place, request).claimed():
            if is_resumed:
                exported.resume()
            else:
                exported.begin(connection, replaces=force)
            return _run(exported, connection)


def _run(exported: Export, connection: Connection[Any]) -> int:
    from api.cli.export_progress import ProgressLine
    from telemetry.clock import SystemClock

    line = ProgressLine(SystemClock().monotonic_us)
    try:
        with tidy(), _cleared(line):
            manifest = exported.run(connection, lambda: True, line.tell)
    except KeyboardInterrupt:
        Terminal.of_stderr().say(f"interrupted; --resume --output {exported.place.target} goes on with it")
        return INTERRUPTED
    assert manifest is not None  # noqa: S101 - nobody tells it to stop
    _tell(manifest, exported.place.folder, exported.place.manifest)
    return 0


@contextmanager
def _cleared(line: Any) -> Iterator[None]:  # noqa: ANN401 - a ProgressLine, imported when it is needed
    try:
        yield
    finally:
        line.clear()


def _tell(manifest: Item, folder: Path, described: Path) -> None:
    from api.cli.export_progress import human_bytes

    terminal = Terminal.of_stdout()
    for file in manifest["files"]:
        rows = plural(file["rows"], "row")
        terminal.say(f"{folder / file['name']}  {rows}, {human_bytes(file['bytes'])}")
    terminal.say(f"{plural(manifest['rows'], 'row')} in all; {described} says what they are", "dim")
    if manifest["lacks_newest"]:
        terminal.say("The newest events may be missing: a transaction has been open for long. Export again later.")


def _target(target: Path | None, how: HowToWrite, now: str) -> Path:
    """Where the file goes; the name of a compressed one says so."""
    usual = f"weir-telemetry-{now}{how.suffix}"
    if target is None:
        return Path(usual)
    if target.is_dir():
        return target / usual
    if how.is_compressed and target.suffix != ".gz":
        target = target.with_name(f"{target.name}.gz")
    return target


def _kept(target: Path, how: HowToWrite, asked: str) -> ExportRequest:
    """What was asked for when it was begun: `1h` is the hour before that."""
    from telemetry.export.journal import Place
    from telemetry.export.request import ExportRequest, request_of

    usual = ExportRequest(form=how.form, is_compressed=how.is_compressed)  # type: ignore[arg-type]  # one of them
    return request_of(Place(target, usual).read(asked).request)


def _request(
    connection: Connection[Any], how: HowToWrite, typed: Mapping[str, Any], folder: Path | None
) -> ExportRequest:
    """What is asked for, times fixed and names resolved.

    Raises:
        UsageError: A value is none that its option can have.
        FilterInvalid: The filter is not one.
    """
    import marshmallow as ma

    from api.cli.opened_store import pseudonyms
    from api.resources.event_filters import filters_of, period_of, read_filter
    from api.schemas.requests import EventFilterQuery
    from telemetry.clock import SystemClock
    from telemetry.export.request import request_for

    def user(name: str) -> bytes:
        known = pseudonyms(folder)
        if known is None:
            raise click.UsageError("--user: nothing here knows how users are named in events; start Weir once")
        return known.user(name)

    given = {name: value for name, value in typed.items() if value is not None}
    try:
        query = EventFilterQuery().load(given)
    except ma.ValidationError as error:
        name, said = next(iter(error.messages_dict.items()))
        raise click.BadParameter(said[0], param_hint=f"--{name.replace('_', '-')}") from error
    period = period_of(query, SystemClock().now())
    filters = filters_of(connection, query, read_filter(query), period, user)
    return request_for(filters, **{**asdict(how), "beside": how.beside})


def _require_schema(url: str) -> None:
    from migrations.runner import require_current

    require_current(url)
