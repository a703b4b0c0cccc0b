"""Every example of docs/reference/cli.md does what it says, typed as it stands there. One database for all of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from fixtures.apis import Api, Typed, served, settings_of_api
from fixtures.chaining import chain_all_traces
from fixtures.databases import empty_redis, fresh_database
from fixtures.examples import documented
from fixtures.running import Servers
from fixtures.samples import make_scope, make_step, now_us, one_of_each
from psycopg import Connection
from structlog.testing import capture_logs

from api.app import close_app
from api.cli.main import main
from telemetry.connections import connect
from telemetry.events import Event, ExecutionCompleted, StepFailed
from telemetry.foreign import open_days
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events
from workers.rounds import check_up

pytestmark = pytest.mark.req("S-05", "S-06", "S-07", "S-08", "S-09", "S-10")

#: What an example must have printed.
Check: TypeAlias = Callable[[Typed], None]

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def in_json(holds: Callable[[dict[str, Any]], bool]) -> Check:
    """There are items, and this holds for each."""

    def check(typed: Typed) -> None:
        items = typed.json["items"]
        assert typed.code == 0
        assert items
        assert all(map(holds, items))

    return check


def in_csv(holds: Callable[[dict[str, str]], bool], code: int = 0) -> Check:
    """There are rows below a heading, and this holds for each."""

    def check(typed: Typed) -> None:
        rows = list(csv.DictReader(io.StringIO(typed.out)))
        assert typed.code == code
        assert rows
        assert all(map(holds, rows))

    return check


def in_table(*columns: str, every: str = "", some: str = "") -> Check:
    """There are lines below a heading with these columns; each has the one text, and some have the other."""

    def check(typed: Typed) -> None:
        heading, *lines = typed.out.splitlines()
        assert typed.code == 0
        assert [column for column in columns if column not in heading] == []
        assert lines
        assert [line for line in lines if every not in line] == []
        assert any(some in line for line in lines)

    return check


def says(pattern: str, *codes: int) -> Check:
    """It is said, and the exit code is one of these, or 0."""

    def check(typed: Typed) -> None:
        assert typed.code in (codes or (0,)), typed.err
        assert re.search(pattern, typed.out + typed.err, re.MULTILINE)

    return check


def nothing_of_tools(typed: Typed) -> None:
    assert typed.code == 0
    assert "nothing records events of tool yet; look for its steps: --step-type tool.call" in typed.err


def is_healthy_or_not(typed: Typed) -> None:
    told = typed.json
    assert typed.code == (told["overall_health"] == "critical")
    assert told["findings"]


def has_columns_chosen(row: dict[str, str]) -> bool:
    return list(row) == ["occurred_at", "command_slug", "duration_ms"] and float(row["duration_ms"]) > 2000


def wrote(*patterns: str, holds: Callable[[str], bool] = bool) -> Check:
    """There is a file for each of these patterns, and this holds for the text of the first."""

    def check(typed: Typed) -> None:
        assert typed.code == 0, typed.err
        found = [sorted(Path().glob(pattern)) for pattern in patterns]
        assert all(found), [path.name for path in Path().iterdir()]
        content = found[0][0].read_bytes()
        assert holds((gzip.decompress(content) if found[0][0].suffix == ".gz" else content).decode())

    return check


def is_csv_of(field: str, value: str) -> Callable[[str], bool]:
    """Whether a text is CSV with rows, all of which have this value."""

    def holds(text: str) -> bool:
        rows = list(csv.DictReader(io.StringIO(text)))
        return bool(rows) and {row[field] for row in rows} == {value}

    return holds


def is_json_with_events(text: str) -> bool:
    return "todo.add" in text and bool(json.loads(text))


def is_jsonl_with_events(text: str) -> bool:
    return "todo.add" in text and all(json.loads(line) for line in text.splitlines())


EVENTS = ("OCCURRED", "EVENT", "CORRELATION ID")
CHECKS: dict[str, Check] = {
    "weir telemetry overview --last=1h": says(r"\btodo\.add\b"),
    "weir telemetry overview --last=1h --format=json": says(r'"executions"'),
    "weir telemetry performance --last=24h": in_table("COUNT", "P50", "P95", some="todo.add"),
    "weir telemetry performance --type=chat --last=24h": says("^Nothing of it ended here|COUNT"),
    "weir telemetry analytics --by=step --last=7d --metric=p95,errors": in_table("STEP TYPE", "P95", some="validate"),
    "weir telemetry spikes --last=7d": says("^No more errors than usual here|COMPARED WITH"),
    "weir telemetry export --time-range=1h": wrote("weir-telemetry-*.jsonl", holds=is_jsonl_with_events),
    "weir telemetry export --time-range=7d --format=json": wrote("weir-telemetry-*.json", holds=is_json_with_events),
    "weir telemetry export --compress --format=csv": wrote(
        "weir-telemetry-*.csv.gz", holds=lambda text: text.startswith("event_id,")
    ),
    "weir telemetry export --split-by=component --time-range=24h": wrote(
        "weir-telemetry-*.command.jsonl", "weir-telemetry-*.dsl.jsonl", holds=is_jsonl_with_events
    ),
    "weir telemetry export --include-metrics --include-health --include-performance": wrote(
        "weir-telemetry-*.jsonl", "weir-telemetry-*.health.jsonl", "weir-telemetry-*.performance.jsonl"
    ),
    "weir telemetry export --component=fragment_telemetry --format=csv": wrote(
        "weir-telemetry-*.csv", holds=is_csv_of("component", "fragment")
    ),
    "weir telemetry export --component=tool_telemetry --include-performance": wrote(
        "weir-telemetry-*.performance.jsonl", holds=is_jsonl_with_events
    ),
    "weir telemetry export --level=error --format=csv": wrote(
        "weir-telemetry-*.csv", holds=is_csv_of("level", "error")
    ),
    "weir telemetry query --export=results.json --format=json": wrote("results.json", holds=is_json_with_events),
    "weir telemetry query --limit=10": in_table(*EVENTS),
    "weir telemetry query --time-range=24h --limit=100": in_table(*EVENTS, some="dsl.step.executed"),
    "weir telemetry query --event-type=command --time-range=6h --format=json": in_json(
        lambda item: item["event_type"].startswith("command.")
    ),
    "weir telemetry query --event-type=tool --time-range=6h --format=json": nothing_of_tools,
    "weir telemetry query --component=fragment_telemetry --format=csv": in_csv(
        lambda row: row["component"] == "fragment"
    ),
    "weir telemetry query --start=3d --end=90m --user=ada --command=todo.add --outcome=succeeded": in_table(
        *EVENTS, every="todo.add"
    ),
    "weir telemetry query --filter='duration:>2s -type:transform' --last=7d"
    " --columns=occurred_at,command_slug,duration_ms": in_table("OCCURRED_AT", "COMMAND_SLUG", "DURATION_MS"),
    "weir telemetry query --follow --level=error": says("StepFailed|dsl.step.failed", 130),
    "weir telemetry errors --last=6h": in_table("COUNT", "ERROR", "NEWEST TRACE", some="StepFailed"),
    "weir telemetry query --level=error --time-range=24h": in_table(*EVENTS, some="failed"),
    "weir telemetry query --component=tool_telemetry --level=error": nothing_of_tools,
    "weir telemetry query --step-type=tool.call --level=error --last=7d": in_table(*EVENTS, every="dsl.step.failed"),
    "weir telemetry query --type=stats --time-range=7d": in_table("OF", "COUNT", "FAILED", some="todo.add"),
    "weir telemetry query --level=error --last=1h --fail-if='count>0' --format=csv": in_csv(
        lambda row: row["level"] == "error", code=1
    ),
    "ID=$(weir telemetry query --level=error --limit=1 --columns=correlation_id --format=csv | tail -1)": says(
        f"^{IDS.pattern}$"
    ),
    'weir telemetry trace "$ID"': says("check .*✗ failed"),
    'weir telemetry trace "$ID" --stats --format=table': says("^validate +1 +1 .*%$"),
    'weir telemetry query --correlation-id="$ID"': in_table(*EVENTS),
    'weir telemetry query --correlation-id="$ID" --format=json': in_json(
        lambda item: item["correlation_id"] == os.environ["ID"]
    ),
    "weir telemetry query --type=chains --time-range=1h": in_table("STATUS", "DEPTH", some="todo.add"),
    'weir telemetry query --type=chains --correlation-id="$ID"': in_table("STATUS", "DEPTH", "CORRELATION ID"),
    "weir telemetry query --type=performance --time-range=6h": in_table("WINDOW", "CLASS", some="todo.add"),
    "weir telemetry query --type=performance --time-range=24h | grep slow": says(r"\btodo\.add +slow\b"),
    "weir telemetry query --type=metrics --component=fragment_telemetry": in_table("STARTS", "MEASURE", "EVENTS"),
    "weir telemetry metrics latency --last=6h --aggregation=minute": says(r"^total_latency  .* ms by minute$"),
    "weir telemetry health": says(r"^overall: \w+", 0, 1),
    "weir telemetry health --watch": says(r"^overall: \w+", 130),
    "weir telemetry health --component=tool_telemetry": says(r"^overall: \w+"),
    "weir telemetry health --format=json": is_healthy_or_not,
    "weir telemetry health --format=json | jq .overall_health": says('^"(healthy|warning|critical)"$', 0, 1),
    "weir telemetry query --type=health": in_table("CHECKED", "STATUS", some="database"),
    "weir telemetry verify": says("^everything: ", 0, 1),
    "weir telemetry cleanup --dry-run": in_table("TABLE", "ROWS", "WOULD GO", some="telemetry_events"),
    "weir telemetry cleanup --component=tool_telemetry --dry-run": says("rows would go"),
    "weir telemetry cleanup --older-than=30d --force": says("rows went"),
    "weir telemetry cleanup --older-than=30d --archive=archive --force": says("rows went"),
    "weir telemetry test --count=100": says("^100 samples stored"),
    "weir telemetry test --count=50": says("^50 samples stored"),
    "weir telemetry test --count=25 --components=tool,command": says("^25 samples stored"),
    "weir telemetry test --remove": says(r"^[\d,]+ samples? removed$"),
    "weir migrate": says("^The schema is up to date.$"),
    "weir telemetry cleanup --dry-run --format=json | jq -r '.kinds[] | \"\\(.table): \\(.rows)\"'": says(
        r"^telemetry_events: \d+$"
    ),
}


def test_every_example_is_checked() -> None:
    assert set(CHECKS) == set(documented())


@pytest.mark.parametrize("line", CHECKS, ids=lambda line: line)
def test_an_example_does_what_it_says(
    place: Connection, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--older-than" in line:
        store(place, make_step(at_us=now_us() - 33 * DAY_US))
    if " | jq " in line and shutil.which("jq") is None:
        pytest.skip("there is no jq here")
    if "--watch" in line or "--follow" in line:
        monkeypatch.setattr("time.sleep", interrupt)

    for path in (*Path().glob("weir-telemetry-*"), *Path().glob("results.json*")):
        path.unlink()

    CHECKS[line](typed(line, capsys))

    if "--older-than" in line:
        (old,) = place.execute(
            "select count(*) from telemetry_events where occurred_at < now() - interval '31 days'"
        ).fetchone() or (None,)
        assert old == 0
        assert Path("archive").exists() or "--archive" not in line


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> Typed:
    """What comes of a line: of one that needs a shell, in a shell; else in this process."""
    if "|" in line:
        shell = ["bash", "-o", "pipefail", "-c", f"{line}{'; echo $ID' if line.startswith('ID=') else ''}"]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own docs
        return Typed(done.returncode, done.stdout, done.stderr)
    program, *arguments = shlex.split(os.path.expandvars(line))
    assert program == "weir"
    capsys.readouterr()
    code = main(arguments)
    printed = capsys.readouterr()
    return Typed(code, printed.out, printed.err)


def interrupt(_: float) -> None:
    """Ctrl-C for whoever watches; others sleep no longer than they must."""
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(servers: Servers, admin: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A folder from which `weir` finds an API and a database with a bit of everything; a connection to the latter."""
    folder = tmp_path_factory.mktemp("examples")
    with capture_logs(), pytest.MonkeyPatch.context() as patch, contextmanager(fresh_database)(servers, admin) as url:
        redis_url = empty_redis(servers)
        settings = settings_of_api(url, redis_url, folder)
        api = Api(settings, settings.servers.commands_dir)
        with served(api) as api_url, connect(url, name="weir test", autocommit=True) as connection:
            patch.chdir(folder)
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            names = {"URL": api_url, "DATABASE_URL": url, "REDIS_URL": redis_url, "HOME": str(folder / "home")}
            for name, value in ({f"WEIR_{name}": value for name, value in names.items()} | {"PATH": path}).items():
                patch.setenv(name, value)
            patch.setenv("ID", fill(connection, api))
            yield connection
        close_app(api.app)


#: A command that fails in its second step.
FAILS = """\
  - {id: note, type: fragment.create, with: {type: note}}
  - {id: check, type: validate, with: {rules: [{value: 11, max: 10}]}}
"""


def fill(connection: Connection, api: Api) -> str:
    """Store what every example finds something of; the correlation id of a trace with an error."""
    user = api.resources.pseudonyms.user("ada")
    now = now_us()
    store(
        connection,
        *(event for at in (now - 120 * MINUTE_US, now) for event in one_of_each(make_scope(user_id=user), at)),
    )
    slow_at = now - 5 * MINUTE_US
    slow = next(event for event in one_of_each(make_scope(), slow_at) if isinstance(event, ExecutionCompleted))
    failed = next(event for event in one_of_each(make_scope(), slow_at) if isinstance(event, StepFailed))
    store(
        connection,
        msgspec.structs.replace(slow, total_duration_us=3_000_000),
        msgspec.structs.replace(failed, step_type="tool.call"),
    )
    api.write("fails", FAILS)
    submitted = api.submit("fails").json
    api.run()
    chain_all_traces(api.resources)
    check_up(api.resources)
    return str(submitted["correlation_id"])


def store(connection: Connection, *new: Event) -> None:
    """Store events as the sink does, in days that may have no partition."""
    open_days(connection, {event.occurred_at_us // DAY_US for event in new})
    with connection.transaction():
        insert_events(connection, map(RowEncoder().encode, new))
        minutes = {event.occurred_at_us // MINUTE_US for event in new}
        append_batch(connection, events=len(new), duplicates=0, minutes=minutes)
