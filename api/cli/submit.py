"""`weir executions submit`: many submissions from a file, a thousand at a time, each under a key of its own.

A key is made of what a line says and of how often the file said it before: so a file that is sent again, whole or
mended, submits what was not accepted, and nothing twice.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import click

from api.cli.interrupt import tidy
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_items
from api.cli.refusals import refusal_lines
from api.cli.target import open_client
from api.cli.terminal import Counter as Progress
from api.cli.terminal import Terminal, clean, plural
from api.client import Answer, ApiRefused, ApiUnreachable, Client, segment
from api.json_text import NotJson, parse_strictly
from telemetry.errors import WeirError

#: Submissions of one request, and bytes of their JSON together, at most.
CHUNK_ITEMS, CHUNK_BYTES = 1000, 4_000_000

#: How often a request is sent that the server could not serve at the time, and seconds in between.
_TRIES, _PAUSE_S = 5, 2.0

#: Seconds to wait for room in a full lane: each time, at least and at most, whatever the server says; until it is given
#: up when no line is answered meanwhile; and between two words about it.
_LEAST_WAIT_S, _MOST_WAIT_S, _LONGEST_WAIT_S, _QUIET_S = 1.0, 60.0, 300.0, 30.0

_TOO_LARGE, _FULL, _AWAY = 413, 429, 503

#: From here on nobody knows whether what was sent has been accepted.
_SERVER_ERROR = 500

#: Faults of a line that are named.
_MAX_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One submission of a file.

    Attributes:
        number: Of its line, from 1.
        item: As the API takes it; none if the line holds none.
        fault: Why it holds none.
    """

    number: int
    item: dict[str, Any] | None
    fault: str = ""


@click.command(short_help="Submit what a file lists: JSON lines or CSV.")
@click.argument("file", type=click.File("rb"))
@click.option("--command", "slug", metavar="SLUG", help="The command of lines that name none; a CSV needs it.")
@click.option("--dry-run", is_flag=True, help="Do everything and keep nothing.")
@click.option("--user", help="On whose behalf, where a line does not say.")
@click.option("--space", help="Which space, where a line does not say.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 is the most urgent, 9 the least; likewise.")
@click.option(
    "--batch", default="", metavar="NAME", help="Part of every key: under another name, the same lines are new."
)
@item_format
def submit(  # noqa: PLR0913 - one argument per option
    file: IO[bytes],
    slug: str | None,
    dry_run: bool,
    user: str | None,
    space: str | None,
    priority: int | None,
    batch: str,
    form: str,
) -> None:
    """Submit every line of FILE (`-` is standard input), in requests of a thousand; nothing waits for their end.

    A line is a JSON object: `{"command": SLUG, "inputs": {...}}`, and what else a submission takes. In a CSV, named
    *.csv, the first line names inputs of --command.

    A line that is refused is named, and the others go on; exits with 1 if any was. What a full lane does not take waits
    for room, and stops it when there is none for five minutes. Interrupted, or cut off, it can be
    run again within 24 hours: what was accepted is recognised by its key, also when other lines were mended or removed.
    """
    given = {"command": slug, "user": user, "space": space, "priority": priority, "dry_run": dry_run or None}
    standard = {name: value for name, value in given.items() if value is not None}
    with open_client() as client:
        lines = _read_csv(client, file, slug) if file.name.lower().endswith(".csv") else _read_json(file)
        sending = Sending(client, Terminal.of_stderr())
        verdicts = sending.run(keyed((_with(line, standard) for line in lines), batch))
        try:
            with tidy():
                _show(sending, verdicts, form)
        except (KeyboardInterrupt, WeirError):
            Terminal.of_stderr().say(sending.so_far() + "; run it again for the rest.")
            raise
    if sending.counts["refused"]:
        raise click.exceptions.Exit(EXPECTED)


def keyed(lines: Iterable[Line], batch: str) -> Iterator[Line]:
    """Each with an idempotency key, unless it brings one: a hash of the batch and of what it says, and its number among
    those that say the same. Holds a hash for each line.
    """
    seen: Counter[bytes] = Counter()
    for line in lines:
        if line.item is None or line.item.get("idempotency_key") is not None:
            yield line
            continue
        said = json.dumps([batch, line.item], sort_keys=True).encode()
        digest = hashlib.sha256(said).digest()[:20]
        seen[digest] += 1
        yield Line(line.number, line.item | {"idempotency_key": f"weir-{digest.hex()}-{seen[digest]}"})


class Sending:
    """One file on its way. What was answered is counted at once, so the counts are true whenever it ends.

    Args:
        client: Of the API.
        terminal: Where to say what is refused, and how far it is.
        pause: Waits, before a request is sent again; seconds.

    Attributes:
        counts: Lines that were `accepted`, `replayed` and `refused`.
    """

    def __init__(self, client: Client, terminal: Terminal, pause: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._terminal = terminal
        self._progress = Progress(terminal, "lines")
        self._pause = pause
        self._on_way = 0
        self._retry_after_s = _PAUSE_S
        self._silent_s = _QUIET_S
        self.counts: Counter[str] = Counter(accepted=0, replayed=0, refused=0)

    def run(self, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
        """Send them all, holding one chunk at a time; the verdict of each, in order.

        Raises:
            ApiUnreachable: Nobody answers any more. The chunk on its way may be accepted or not.
            ApiRefused: For a reason that is not one of the lines; a lane stayed full.
        """
        for chunk in _chunks(lines):
            answers = self._settle([line for line in chunk if line.item is not None])
            for line in chunk:
                verdict = answers.get(line.number) or self._counted(_unreadable(line))
                if verdict["problem"] is not None:
                    self._name(verdict)
                yield verdict
        self._progress.clear()

    def so_far(self) -> str:
        """How much is accepted, and of how much nobody knows."""
        done = f"{plural(self.counts['accepted'] + self.counts['replayed'], 'line')} of the file are accepted"
        return f"{done}, and {self._on_way:,} more may be" if self._on_way else done

    def _settle(self, pending: list[Line]) -> dict[int, dict[str, Any]]:
        """The verdict of each, by the number of its line.

        A lane with room for a few takes nothing of many. So what it refuses is sent again in halves, down to a single
        line; when there is no room for that, it waits as the API says, and begins with a single line again.
        """
        answers: dict[int, dict[str, Any]] = {}
        size, waited_s = len(pending), 0.0
        while pending:
            part, later = pending[:size], pending[size:]
            verdicts = list(self._ask(part))
            full = {verdict["line"]: verdict["problem"] for verdict in verdicts if verdict["status"] == _FULL}
            answers |= {each["line"]: self._counted(each) for each in verdicts if each["line"] not in full}
            pending = [line for line in part if line.number in full] + later
            if len(full) < len(part):
                waited_s = 0.0
            if not full:
                size *= 2
            elif len(part) > 1:
                size = max(1, min(len(full), len(part) // 2))
            else:
                waited_s += self._wait(next(iter(full.values())), waited_s)
        return answers

    def _counted(self, verdict: dict[str, Any]) -> dict[str, Any]:
        self.counts[verdict["verdict"]] += 1
        self._progress.add()
        return verdict

    def _wait(self, problem: Mapping[str, Any], waited_s: float) -> float:
        """Wait for room in a lane; how many seconds.

        Raises:
            ApiRefused: That was long enough.
        """
        pause_s = min(max(self._retry_after_s, _LEAST_WAIT_S), _MOST_WAIT_S)
        if waited_s + pause_s > _LONGEST_WAIT_S:
            raise ApiRefused(_FULL, problem)
        if self._silent_s >= _QUIET_S:
            self._progress.clear()
            self._terminal.say(clean(f"{problem['detail']}; {self.so_far()}, the others wait for room"), "dim")
            self._silent_s = 0.0
        self._pause(pause_s)
        self._silent_s += pause_s
        return pause_s

    def _ask(self, chunk: list[Line]) -> Iterator[dict[str, Any]]:
        """The API's verdicts; what is too large for one request is sent in halves."""
        try:
            answer = self._post({"items": [line.item for line in chunk]})
        except ApiRefused as refused:
            if refused.status != _TOO_LARGE:
                raise
            if len(chunk) == 1:
                yield {"line": chunk[0].number, **_refused(refused.status, dict(refused.problem))}
                return
            half = len(chunk) // 2
            yield from self._ask(chunk[:half])
            yield from self._ask(chunk[half:])
            return
        self._retry_after_s = _seconds(answer.headers.get("retry-after"))
        for line, item in zip(chunk, answer.body["items"], strict=True):
            yield {"line": line.number, **{name: value for name, value in item.items() if name != "index"}}

    def _post(self, body: Mapping[str, Any]) -> Answer:
        """Sent again where nobody knows what became of it: every item has its key."""
        self._on_way = len(body["items"])
        for left in range(_TRIES - 1, -1, -1):
            try:
                answer = self._client.post("/api/executions/bulk", body)
            except (ApiRefused, ApiUnreachable) as error:
                if isinstance(error, ApiRefused) and error.status < _SERVER_ERROR:
                    self._on_way = 0
                if not left or (isinstance(error, ApiRefused) and error.status not in {_FULL, _AWAY}):
                    raise
                self._pause(_PAUSE_S)
            else:
                self._on_way = 0
                return answer
        raise AssertionError  # the last try has returned or raised

    def _name(self, verdict: Mapping[str, Any]) -> None:
        """Say in one line what is wrong with a line."""
        self._progress.clear()
        problem = verdict["problem"]
        said, faults = refusal_lines(problem, clean(str(problem.get("detail") or problem["title"])))
        if faults:
            more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
            said = f"{said}: {'; '.join(faults[:_MAX_FAULTS])}{more}"
        hint = str(problem.get("hint") or "")
        if hint.lower().startswith("did you mean"):
            said += f"; {hint[0].lower()}{hint[1:].removesuffix('.')}"
        self._terminal.say(clean(f"line {verdict['line']}: {said} ({problem['code']})"), "failed")


def _show(sending: Sending, verdicts: Iterator[dict[str, Any]], form: str) -> None:
    if form == "json":
        print_items(verdicts, lambda: dict(sending.counts))
        return
    for _ in verdicts:
        pass
    counts = sending.counts
    print(
        f"{plural(counts.total(), 'line')}: {counts['accepted']:,} accepted, {counts['replayed']:,} accepted before, "
        f"{counts['refused']:,} refused"
    )


def _read_json(file: IO[bytes]) -> Iterator[Line]:
    """JSON lines; blank ones are passed over. NaN and half characters are no JSON that anybody could be sent."""
    for number, raw in enumerate(file, start=1):
        if not raw.strip():
            continue
        try:
            item = parse_strictly(raw)
            json.dumps(item, ensure_ascii=False, allow_nan=False).encode()
        except NotJson as error:
            yield Line(number, None, f"the line {error}")
            continue
        except (ValueError, RecursionError):
            yield Line(number, None, "the line holds a number out of range, or half of a character")
            continue
        if isinstance(item, dict):
            yield Line(number, item)
        else:
            yield Line(number, None, "the line is not a JSON object")


def _read_csv(client: Client, file: IO[bytes], slug: str | None) -> Iterator[Line]:
    """Lines whose columns are inputs, as the types that the command declares; an empty cell is an input not given."""
    if slug is None:
        raise click.UsageError("A CSV needs --command: its columns are the inputs of one.")
    schema = client.get(f"/api/commands/{segment(slug)}")["inputs"]
    return _rows(codecs.iterdecode(file, "utf-8-sig"), schema)


def _rows(text: Iterable[str], schema: Mapping[str, Any]) -> Iterator[Line]:
    from dsl.inputs import coerce

    reader = csv.DictReader(text, strict=True)
    try:
        names = list(reader.fieldnames or ())
        if twice := next((name for name in names if names.count(name) > 1), None):
            yield Line(1, None, f"the column {twice} is given twice")
            return
        for row in reader:
            if None in row:
                yield Line(reader.line_num, None, "the line has more columns than the first")
                continue
            texts = {name: value for name, value in row.items() if value}
            yield Line(reader.line_num, {"inputs": dict(coerce(schema, texts))})
    except (csv.Error, UnicodeDecodeError) as error:
        yield Line(reader.line_num + 1, None, f"the rest cannot be read as CSV in UTF-8: {error}")


def _with(line: Line, standard: Mapping[str, Any]) -> Line:
    return line if line.item is None else Line(line.number, {**standard, **line.item})


def _chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    held = 0
    for line in lines:
        size = len(json.dumps(line.item))
        if chunk and (len(chunk) == CHUNK_ITEMS or held + size > CHUNK_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(line)
        held += size
    if chunk:
        yield chunk


def _seconds(text: str | None) -> float:
    """`Retry-After`, which may be a date, too: then as if it were not there."""
    return float(text) if text is not None and text.isdecimal() else _PAUSE_S


def _unreadable(line: Line) -> dict[str, Any]:
    problem = {"title": "Line cannot be read", "detail": line.fault, "code": "request.malformed"}
    return {"line": line.number, **_refused(None, problem)}


def _refused(status: int | None, problem: Mapping[str, Any]) -> dict[str, Any]:
    return {"verdict": "refused", "status": status, "id": None, "location": None, "problem": dict(problem)}
