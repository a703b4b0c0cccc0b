"""`weir telemetry query` as a person types it."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fixtures.apis import Api, Weir
from fixtures.chaining import chain_all_traces
from fixtures.samples import make_scope, make_step, now_us, one_of_each

from api.cli.event_following import Printer
from api.cli.event_views import view_of
from api.cli.terminal import Terminal
from telemetry.events import Event
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events
from workers.rounds import check_up

ROOT = Path(__file__).parents[2]
QUERY = ("telemetry", "query")


def store(connection: psycopg.Connection, *new: Event) -> None:
    with connection.transaction():
        insert_events(connection, map(RowEncoder().encode, new))
        minutes = {event.occurred_at_us // 60_000_000 for event in new}
        append_batch(connection, events=len(new), duplicates=0, minutes=minutes)


@pytest.fixture
def each(weir: Weir, busy_api: Api, connection: psycopg.Connection) -> tuple[Event, ...]:
    """An event of each type, stored."""
    new = tuple(one_of_each(make_scope(user_id=busy_api.resources.pseudonyms.user("ada"))))
    store(connection, *new)
    return new


@pytest.mark.req("S-05", "S-03")
def test_options_and_filter_say_together_which_events(weir: Weir, each: tuple[Event, ...]) -> None:
    options = ("--filter", "outcome:failed,dead", "--component", "command", "--user", "ada", "--time-range", "1h")

    found = weir(*QUERY, *options, "--format", "json")

    assert (found.code, [item["event_type"] for item in found.json["items"]]) == (0, ["command.execution.failed"])
    assert weir("telemetry", "events", *options, "--format", "json").json["items"] == found.json["items"]
    assert weir(*QUERY, "--start", "90m", "--end", "now", "--outcome", "dead", "--format", "json").json["items"]
    assert not weir(*QUERY, "--start", "3d", "--end", "90m", "--format", "json").json["items"]


@pytest.mark.req("S-05")
def test_columns_are_chosen_in_every_format(weir: Weir, each: tuple[Event, ...]) -> None:
    chosen = (*QUERY, "-f", "outcome:dead", "--columns", "event_type, duration_ms,measures")

    (item,) = weir(*chosen, "--format", "json").json["items"]
    assert list(item) == ["event_type", "duration_ms", "measures"]
    (row,) = csv.DictReader(io.StringIO(weir(*chosen, "--format", "csv").out))
    assert json.loads(row.pop("measures")) == item.pop("measures")
    assert row == {name: str(value) for name, value in item.items()}
    heading, line = weir(*chosen).out.splitlines()
    assert heading.split() == ["EVENT_TYPE", "DURATION_MS", "MEASURES"]
    assert line.split()[:2] == ["command.execution.failed", "120.0"]


@pytest.mark.req("S-05")
def test_a_count_decides_on_the_exit_code(weir: Weir, each: tuple[Event, ...]) -> None:
    errors = (*QUERY, "--level", "error", "--limit", "1", "--fail-if")

    assert [weir(*errors, condition).code for condition in ("count>0", "count > 3", "count>=3", "count!=3")] == [
        1,
        0,
        1,
        0,
    ]
    assert weir(*errors, "count=3").err.endswith("weir: 3 match: count=3\n")
    assert weir(*QUERY, "--type", "stats", "--level", "error", "--fail-if", "count>=2").code == 1


@pytest.mark.req("S-05")
def test_a_filter_that_is_wrong_is_shown_where(weir: Weir) -> None:
    typed = weir(*QUERY, "--filter", "command:x outcom:failed")

    assert (typed.code, typed.out) == (2, "")
    assert typed.err.splitlines() == [
        "--filter:1:11: there is no field 'outcom' (filter.invalid)",
        "    1 | command:x outcom:failed",
        "      |           ^",
        "      expected: one of the fields of docs/reference/filters.md",
        "      did you mean: outcome",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--columns", "occured_at"), "did you mean occurred_at?"),
        (("--fail-if", "many"), "'many' is not a condition such as 'count>0'"),
        (("--start", "yesterday"), "'yesterday' is neither how long ago (2h) nor a time"),
        (("--component", "fragmnt_telemetry"), "no component 'fragmnt_telemetry'; did you mean fragment?"),
        (("--component", "databse", "--type", "health"), "no component 'databse'; did you mean database?"),
        (("--component", "database"), "no component 'database'; there are command, dsl, tool"),
        (("--event-type", "dsl.stp.failed"), "no type of events 'dsl.stp.failed'; did you mean dsl.step.failed?"),
        (("--level", "eror"), "no level 'eror'; did you mean error?"),
        (("--outcome", "fail"), "no outcome 'fail'; did you mean failed?"),
        (("--last", "1 hour"), "for --last: '1 hour' is not a number and a unit"),
        (("--time-range", "1h", "--start", "3d"), "--last and --start exclude each other"),
        (("--correlation-id", "corr_12345"), "'corr_12345' is not an id: 32 hexadecimal digits"),
        (("--start", "1h", "--end", "3d"), "--start is not before --end"),
        (("--end", "3d", "--start", "3d"), "--start is not before --end"),
        (("--columns", "zebra"), "events have no 'zebra'; they have event_id, occurred_at"),
        (
            ("--type", "performance", "--component", "tool"),
            "--type performance has no --component; it takes --cursor, --limit, --time-range",
        ),
        (("--type", "stats", "--limit", "3"), "--type stats and --limit exclude each other"),
        (("--follow", "--fail-if", "count>0"), "--follow and --fail-if exclude each other"),
        (("--follow", "--type", "stats"), "--follow and --type exclude each other"),
        (("--type", "stats", "--columns", "level"), "--type stats and --columns exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(offline_weir: Weir, arguments: tuple[str, ...], said: str) -> None:
    typed = offline_weir(*QUERY, *arguments)

    assert (typed.code, typed.out) == (2, "")
    assert said in typed.err


@pytest.mark.req("S-05", "S-03")
def test_statistics_are_lines(weir: Weir, each: tuple[Event, ...]) -> None:
    asked = (*QUERY, "--type", "stats", "--time-range", "1h")

    assert weir(*asked, "--format", "json").json["events"] >= len(each)
    rows = list(csv.DictReader(io.StringIO(weir(*asked, "--format", "csv").out)))
    (command,) = [row for row in rows if row["of"] == "command"]
    assert (command["name"], command["count"], command["failed"], command["average_ms"]) == (
        "todo.add",
        "3",
        "2",
        "120.0",
    )
    assert "todo.add" in weir(*asked).out


@pytest.mark.req("S-05", "S-03")
def test_metrics_are_buckets_of_what_is_asked_for(weir: Weir, each: tuple[Event, ...]) -> None:
    asked = (*QUERY, "--type", "metrics", "--component", "command", "--measure", "duration", "--last", "1h")

    found = weir(*asked, "--format", "json").json["items"]
    assert {(item["component"], item["measure"], item["width"]) for item in found} == {("command", "duration", "hour")}
    first = weir(*asked, "--limit", "1", "--format", "json").json
    second = weir(*asked, "--limit", "1", "--cursor", first["next_cursor"], "--format", "json").json
    assert [*first["items"], *second["items"]] == found[:2]
    rows = list(csv.DictReader(io.StringIO(weir(*asked, "--format", "csv").out)))
    assert [json.loads(row["counts"]) for row in rows] == [item["counts"] for item in found]
    table = weir(*asked, "--operation", "todo.add").out
    assert "P95" in table.split("\n")[0]
    assert "todo.add" in table
    of_user = weir(*asked, "--user", "ada", "--width", "day", "--format", "json").json["items"]
    assert {(item["dimension"], item["operation"], item["space_id"]) for item in of_user} == {("user", None, None)}


@pytest.mark.req("S-05")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--width", "hour"), "--type events and --width exclude each other"),
        (("--type", "metrics", "--level", "error"), "--type metrics has no --level"),
        (("--type", "metrics", "--fail-if", "count>0"), "--type metrics has no --fail-if"),
    ],
)
def test_options_of_metrics_are_of_metrics(offline_weir: Weir, options: tuple[str, ...], said: str) -> None:
    refused = offline_weir(*QUERY, *options)

    assert (refused.code, said in refused.err) == (2, True), refused.err


def test_it_is_said_that_nothing_is_recorded_of_a_component(weir: Weir, each: tuple[Event, ...]) -> None:
    remark = "weir: nothing records events of tool yet; look for its steps: --step-type tool.call\n"

    assert weir(*QUERY, "--component", "tool_telemetry", "--format", "json").err == remark
    assert weir(*QUERY, "--event-type", "tool").err == remark
    assert weir(*QUERY, "--component", "chats").err == ""
    assert weir(*QUERY, "--component", "http", "--end", "3d").err == weir(*QUERY, "--component", "http").err == ""


@pytest.mark.parametrize(("kind", "said"), [("health", "check-up"), ("performance", "snapshot"), ("chains", "trace")])
def test_what_maintenance_keeps_is_listed(weir: Weir, kind: str, said: str) -> None:
    assert weir(*QUERY, "--type", kind, "--format", "json").json == {"items": [], "next_cursor": None}
    assert weir(*QUERY, "--type", kind).out.startswith(f"No {'performance ' if said == 'snapshot' else ''}{said} is ")
    refused = weir(*QUERY, "--type", kind, "--command", "x")
    assert (refused.code, f"--type {kind} has no --command" in refused.err) == (2, True)


def test_check_ups_and_chains_are_shown(weir: Weir, busy_api: Api) -> None:
    weir("run", "todo.add", "-i", "body=x")
    check_up(busy_api.resources)
    chain_all_traces(busy_api.resources)

    chains, checks = weir(*QUERY, "--type", "chains"), weir(*QUERY, "--type", "health", "--component", "database")
    snapshots = weir(*QUERY, "--type", "performance", "--format", "csv")

    assert any("todo.add" in line and "succeeded" in line for line in chains.out.splitlines())
    assert "database" in checks.out
    assert "e+0" not in weir(*QUERY, "--type", "health").out
    assert snapshots.out.startswith("id,window_at,window_ms,subject,name")


@pytest.mark.req("S-05")
def test_what_is_stored_is_followed_until_it_is_interrupted(
    weir: Weir, connection: psycopg.Connection, each: tuple[Event, ...]
) -> None:
    late, new = make_step(at_us=now_us() - 1_000_000), make_step()

    with followed("--filter", "component:dsl outcome:succeeded", "--format", "json") as process:
        assert process.stdout is not None
        found = [process.stdout.readline()]
        store(connection, late)
        found.append(process.stdout.readline())
        store(connection, new, *one_of_each())
        found += [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)

    assert (process.returncode, errors, rest) == (130, "", "")
    items = [json.loads(line) for line in found]
    assert items[1]["event_id"].replace("-", "") == late.event_id.hex()
    assert new.event_id.hex() in {item["event_id"].replace("-", "") for item in items[2:]}
    assert len({item["event_id"] for item in items}) == len(items)


@pytest.mark.req("S-05")
@pytest.mark.parametrize("form", ["table", "csv"])
def test_what_is_followed_has_one_heading(
    weir: Weir, each: tuple[Event, ...], capsys: pytest.CaptureFixture[str], form: str
) -> None:
    items = weir(*QUERY, "-f", "outcome:dead", "--format", "json").json["items"]
    terminal = Terminal.of_stdout()
    printer = Printer(view_of(terminal, ("event_type",)), form, ("event_type",), terminal)

    printer.show([])
    printer.show(items)
    printer.show([])
    printer.show(items)

    heading, *lines = capsys.readouterr().out.splitlines()
    assert (heading.lower(), lines) == ("event_type", 2 * ["command.execution.failed"])


@contextmanager
def followed(*options: str) -> Iterator[subprocess.Popen[str]]:
    """`weir telemetry query --follow` in a process of its own; ended with the block."""
    # A shell that runs tests in the background has them ignore Ctrl-C, and whatever they start.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heeding}; from api.cli.entry import run; run()"
    program = [sys.executable, "-c", script, *QUERY, "--follow", *options]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        try:
            yield process
        finally:
            process.kill()
