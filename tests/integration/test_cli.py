"""The command line from outside, as a person types it: one file, for its tests share one stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest
from fixtures.apis import Api, Weir

from api.cli.main import SECTIONS
from api.cli.main import weir as root
from telemetry.clock import SystemClock

ROOT = Path(__file__).parents[2]

HEAVY = {
    "flask",
    "psycopg",
    "redis",
    "pydantic",
    "liquid",
    "rich",
    "structlog",
    "yaml",
    "http",
    "dramatiq",
    "jsonschema_rs",
}


PROGRAM = """\
import sys
from api.cli.main import main

code = main(sys.argv[1:])
print(*sys.modules, sep="\\n")
sys.exit(code)
"""


def test_the_help_imports_nothing_that_takes_time() -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "The stack:" in done.stdout
    assert HEAVY & set(done.stdout.split()) == set()


def test_every_line_of_the_help_is_what_the_command_says_of_itself() -> None:
    with click.Context(root) as context:
        for section in SECTIONS.values():
            for name, entry in section.items():
                command = root.get_command(context, name)
                assert command is not None
                assert entry.help == command.get_short_help_str(limit=100)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["comands"], 2, "Did you mean commands?"),
        (["run"], 2, "Missing argument"),
        (["run", "x", "--wait", "-1"], 2, "--wait"),
        (["run", "x", "--at", "tomorrow"], 2, "'tomorrow' is not a time"),
        (["run", "x", "--in", "soon"], 2, "'soon' is not a number and a unit"),
        (["run", "x", "--in", "1h", "--at", "2026-01-01"], 2, "exclude each other"),
        (["run", "x", "-i", "noequals"], 2, "NAME=VALUE"),
        (["run", "x", "-i", "a=1", "-i", "a=2"], 2, "given twice"),
        (["run", "x", "--in", "99999999999999d"], 2, "longer than time is told"),
        (
            ["run", "x", "--input-file", "missing.json"],
            2,
            "for --input-file: missing.json: No such file or directory\n",
        ),
        (["run", "x", "--input-file", os.devnull], 2, "/dev/null is not JSON: Expecting value at line 1, column 1"),
        (["run", "x", "--idempotency-key", "ключ"], 2, "expected 1 to 255 printable ASCII characters"),
        (["run", "x", "--idempotency-key", ""], 2, "--idempotency-key"),
        (["executions", "retry", "x", "--idempotency-key", "ключ"], 2, "printable ASCII characters"),
        (["executions", "resume", "x", "--idempotency-key", "ключ"], 2, "printable ASCII characters"),
        (["queues", "pause", "x", "--until", "soon"], 2, "for --until: 'soon' is not a time such as"),
        (["queues", "pause", "x", "--for", "soon"], 2, "for --for: 'soon' is not a number and a unit"),
        (["commands", "pause", "x", "--for", "999999999999999d"], 2, "for --for: "),
        (["commands", "list"], 1, "nothing answers at http://127.0.0.1:1"),
        (["telemetry", "trace", "x"], 1, "nothing answers"),
        (["commands", "new", "Not A Slug"], 2, "lower case"),
        (["commands", "validate", "nothing"], 2, "there is neither a command nor a file 'nothing'"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line_with_its_exit_code(
    offline_weir: Weir, arguments: list[str], code: int, said: str
) -> None:
    typed = offline_weir(*arguments)

    assert (typed.code, typed.out) == (code, "")
    assert said in typed.err
    assert "Traceback" not in typed.err


def test_every_wrong_setting_is_named_at_once(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_API_PORT", "x")
    monkeypatch.setenv("WEIR_HOEM", "x")

    typed = offline_weir("commands", "list")

    assert typed.code == 1
    assert "WEIR_API_PORT" in typed.err
    assert "did you mean WEIR_HOME?" in typed.err


def test_an_error_nobody_foresaw_is_one_line_and_a_traceback_in_the_home(
    offline_weir: Weir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("bug")

    logs = tmp_path / "home" / "logs"
    logs.mkdir(parents=True)
    monkeypatch.setattr("api.cli.commands.open_client", crash)

    typed = offline_weir("commands", "list")

    assert typed.code == 3
    assert typed.err.splitlines()[0] == "weir: an error nobody foresaw: RuntimeError: bug"
    assert "Traceback" not in typed.err
    assert "Traceback" in (logs / "cli-error.log").read_text()


def test_an_interruption_has_its_own_exit_code(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.commands.open_client", interrupt)

    assert offline_weir("commands", "list").code == 130


def test_a_reader_that_has_gone_is_no_crash() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "api.cli", "commands", "validate", "--format", "json"],
        cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip

    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_new_command_works_as_it_is_and_is_never_replaced(offline_weir: Weir) -> None:
    written = offline_weir("commands", "new", "my.first-one")
    text = Path("commands/my.first-one.yaml").read_text()

    assert written.code == 0
    assert "commands/my.first-one.yaml" in written.out
    assert offline_weir("commands", "validate", "my.first-one").out == "✓ 1 command is fine\n"
    again = offline_weir("commands", "new", "my.first-one")
    assert (again.code, "is there already" in again.err) == (1, True)
    assert Path("commands/my.first-one.yaml").read_text() == text


BROKEN = """\
slug: broken
steps:
  - id: a
    type: respnd
  - id: b
    type: respond
    with: {value: "{{ steps.c.output }}"}
"""


def test_every_fault_of_a_file_is_shown_with_its_place_and_a_caret(offline_weir: Weir) -> None:
    path = Path("broken.yaml")
    path.write_text(BROKEN)

    typed = offline_weir("commands", "validate", "broken.yaml")

    assert typed.code == 1
    lines = typed.out.splitlines()
    assert lines[0].startswith("broken.yaml:4:11: ")
    assert lines[1] == "    4 |     type: respnd"
    assert lines[2] == "      |           ^"
    assert any("did you mean: respond" in line for line in lines)
    assert any(line.startswith("broken.yaml:7:") for line in lines)


def test_faults_as_json_have_the_shape_the_api_gives_them(offline_weir: Weir) -> None:
    Path("broken.yaml").write_text(BROKEN)

    typed = offline_weir("commands", "validate", "broken.yaml", "todo.add", "--format", "json")

    broken, fine = typed.json["items"]
    assert (typed.code, typed.json["next_cursor"]) == (1, None)
    assert broken["source"] == "broken.yaml"
    assert {"code", "message", "path", "line", "column"} <= set(broken["errors"][0])
    nothing_wrong: dict[str, object] = {"errors": [], "warnings": [], "in_place_of": None}
    assert fine == {"source": "todo.add (pack)", "slug": "todo.add", **nothing_wrong}


def test_a_folder_is_checked_whole(offline_weir: Weir) -> None:
    Path("broken.yaml").write_text(BROKEN)
    Path("fine.yml").write_text("slug: fine\nsteps: [{id: a, type: respond, with: {value: 1}}]\n")

    typed = offline_weir("commands", "validate", ".")

    assert typed.code == 1
    assert "✓ 1 command is fine" in typed.out


@pytest.mark.req("D-04")
def test_a_command_is_run_its_steps_shown_and_its_result(weir: Weir) -> None:
    typed = weir("run", "todo.add", "-i", "body=buy milk", "-i", "priority=high")

    lines = typed.out.splitlines()
    assert (typed.code, typed.err) == (0, "")
    assert [line.split()[:2] for line in lines[:5]] == [
        ["✓", "title"],
        ["✓", "check"],
        ["✓", "create"],
        ["✓", "tell"],
        ["✓", "answer"],
    ]
    assert lines[5].startswith("✓ todo.add succeeded in ")
    assert "  1 fragment was created" in lines
    assert '  "title": "buy milk",' in lines
    assert lines[-1].startswith("  weir telemetry trace ")


def test_values_get_the_types_the_command_declares(weir: Weir, busy_api: Api) -> None:
    busy_api.write(
        "typed",
        "  - {id: a, type: respond, with: {value: '{{ inputs }}'}}\n",
        "{n: {type: integer}, f: {type: number}, b: {type: boolean}, l: {type: array}, s: {type: string}}",
    )

    typed = weir(
        "run", "typed", "-i", "n=3", "-i", "f=1.5", "-i", "b=true", "-i", "l=[1]", "-i", "s=3", "--format", "json"
    )

    assert typed.json["result"] == {"n": 3, "f": 1.5, "b": True, "l": [1], "s": "3"}


def test_inputs_come_from_a_file_and_single_ones_override_it(weir: Weir, busy_api: Api) -> None:
    Path("inputs.json").write_text(json.dumps({"body": "from file", "priority": "low"}))

    typed = weir("run", "todo.add", "--input-file", "inputs.json", "-i", "body=mine", "--format", "json")

    assert typed.json["inputs"] | {"body": "mine", "priority": "low"} == typed.json["inputs"]


def test_a_detached_run_prints_the_id_and_nothing_else(weir: Weir) -> None:
    typed = weir("run", "todo.add", "-i", "body=x", "--detach")

    assert weir("executions", "show", typed.out.strip()).code == 0


@pytest.mark.req("C-10")
@pytest.mark.parametrize("when", [("--in", "2h"), ("--at", "2h")], ids=["in", "at"])
def test_a_run_that_is_put_off_is_not_waited_for_and_says_when(weir: Weir, when: tuple[str, str]) -> None:
    option, value = when
    if option == "--at":
        # This machine's time, as people write it.
        value = (
            (SystemClock().now().astimezone() + timedelta(hours=2)).replace(tzinfo=None).isoformat(timespec="minutes")
        )
    typed = weir("run", "todo.add", "-i", "body=x", option, value, "--expires-in", "30m", "--priority", "2")

    assert typed.code == 0
    assert typed.err.startswith("it will run at 20")
    shown = json.loads(weir("executions", "show", typed.out.strip(), "--format", "json").out)
    due = datetime.fromisoformat(shown["run_at"])
    assert timedelta(minutes=118) < due - datetime.fromisoformat(shown["queued_at"]) <= timedelta(hours=2, seconds=1)
    assert datetime.fromisoformat(shown["expires_at"]) - due == timedelta(minutes=30)
    assert (shown["state"], shown["priority"]) == ("scheduled", 2)
    assert "expires" in weir("executions", "show", typed.out.strip()).out


def test_a_dry_run_says_what_would_have_been(weir: Weir) -> None:
    typed = weir("run", "todo.add", "-i", "body=x", "--dry-run")

    assert "(dry run: nothing was kept)" in typed.out
    assert "  1 fragment would have been created" in typed.out.splitlines()


def test_a_failed_run_says_where_and_why_and_exits_with_1(weir: Weir, busy_api: Api) -> None:
    busy_api.write(
        "fails", "  - {id: check, type: validate, with: {rules: [{value: 11, max: 10, message: too much}]}}\n"
    )

    typed = weir("run", "fails")

    assert typed.code == 1
    assert any(line.startswith("✗ check") and line.endswith("failed") for line in typed.out.splitlines())
    assert "  check: " in typed.out
    assert typed.out.count("too much") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--in", "400d"], "at most 366 days ahead; a schedule runs at times beyond"),
        (["--at", "2020-01-01T00:00"], "ago, by the server's clock; expected an instant to come"),
        (["--expires-in", "0s"], "expires_in: 0s is out of bounds; expected more than nothing, at most 366 days"),
    ],
)
def test_what_was_expected_of_a_time_is_said(weir: Weir, options: list[str], said: str) -> None:
    typed = weir("run", "todo.add", "-i", "body=x", *options)

    assert typed.code == 1
    assert typed.err.count("\n") == 1
    assert said in typed.err


def test_a_lane_is_paused_until_a_time_of_this_machine(weir: Weir) -> None:
    until = (SystemClock().now() + timedelta(days=2)).astimezone().replace(microsecond=0)

    paused = weir("queues", "pause", "default", "--until", until.replace(tzinfo=None).isoformat(), "--format", "json")
    past = weir("queues", "pause", "default", "--until", "2020-01-01")

    assert datetime.fromisoformat(paused.json["paused"]["until"]) == until
    assert (past.code, past.err.count("an instant to come")) == (1, 1)
    assert weir("queues", "show", "default", "--format", "json").json["paused"] == paused.json["paused"]


def test_a_paused_command_is_said_to_be_one_wherever_it_is_looked_for(weir: Weir) -> None:
    weir("commands", "pause", "todo.add", "--user", "mina")

    waited = weir("run", "todo.add", "-i", "body=x", "--wait", "0.2")

    assert waited.code == 1
    assert "still queued after 0.2 s, waiting for its command, which mina paused; see weir executions" in waited.err
    assert "todo.add (paused)" in weir("commands", "list").out
    assert "paused by mina" in weir("commands", "show", "todo.add").out
    weir("commands", "resume", "todo.add")
    assert "paused" not in weir("commands", "list").out


def test_inputs_of_a_file_are_json_as_the_api_has_it(offline_weir: Weir) -> None:
    for text, said in (
        (b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"\xff", "is not UTF-8 at byte 0"),
        (b"[1]", "is not a JSON object"),
    ):
        Path("inputs.json").write_bytes(text)
        typed = offline_weir("run", "x", "--input-file", "inputs.json")
        assert (typed.code, said in typed.err) == (2, True)


def test_a_refusal_with_one_fault_is_said_once(weir: Weir) -> None:
    typed = weir("executions", "list", "--state", "bogus")

    assert typed.code == 1
    assert typed.err.count("must be one of") == 1 + typed.err.count("\n  - ")
    assert "state: state:" not in typed.err


def test_a_search_among_executions_that_finds_none_does_not_say_that_nothing_ran(weir: Weir) -> None:
    typed = weir("executions", "list", "--command", "never.run")

    assert typed.out == "No execution fits.\n"


def test_refused_inputs_are_named_one_by_one(weir: Weir) -> None:
    typed = weir("run", "todo.add", "-i", "bdoy=x")

    assert typed.code == 1
    assert "inputs.bdoy" in typed.err
    assert "did you mean body?" in typed.err
    assert "inputs.body" in typed.err


def test_a_run_that_takes_longer_than_asked_goes_on(weir: Weir, busy_api: Api) -> None:
    items = json.dumps(list(range(2000)))
    do = "{id: keep, type: fragment.create, with: {type: note, title: x}}"
    busy_api.write("slow", f"  - {{id: each, type: list.map, with: {{items: {items}, as: n, do: [{do}]}}}}\n")

    typed = weir("run", "slow", "--wait", "0.2")

    assert typed.code == 1
    assert "still " in typed.err
    assert "weir executions show" in typed.err


def test_the_items_of_a_long_map_are_counted_instead_of_shown(weir: Weir, busy_api: Api) -> None:
    items = json.dumps(list(range(30)))
    do = "{id: say, type: transform, with: {template: '{{ n }}'}}"
    busy_api.write("long", f"  - {{id: each, type: list.map, with: {{items: {items}, as: n, do: [{do}]}}}}\n")

    lines = weir("run", "long").out.splitlines()

    assert sum("each[" in line for line in lines) == 5
    assert "  … 25 more steps in each" in lines
    assert lines.index("  … 25 more steps in each") < next(
        i for i, line in enumerate(lines) if line.startswith("✓ each ")
    )


def test_lists_are_tables_json_or_csv(weir: Weir, busy_api: Api) -> None:
    weir("run", "todo.add", "-i", "body=x")

    table, csv = weir("executions", "list"), weir("executions", "list", "--format", "csv")

    assert table.out.splitlines()[0].split()[:3] == ["STATE", "COMMAND", "QUEUED"]
    assert "✓ succeeded" in table.out
    assert csv.out.splitlines()[0].startswith("id,command,state,")
    assert weir("executions", "list", "--format", "json").json == busy_api.get("/api/executions").json


@pytest.mark.parametrize(
    "arguments",
    [("commands", "list"), ("executions", "list"), ("fragments", "list"), ("telemetry", "events")],
    ids=" ".join,
)
def test_json_of_every_list_is_what_rest_gives(weir: Weir, arguments: tuple[str, ...]) -> None:
    weir("run", "todo.add", "-i", "body=x")

    page = weir(*arguments, "--format", "json").json

    assert page["items"]
    assert "next_cursor" in page


def test_a_list_goes_on_from_its_cursor(weir: Weir) -> None:
    ids = [weir("run", "todo.add", "-i", "body=x", "--detach").out.strip() for _ in range(3)]

    first = weir("executions", "list", "--limit", "2")
    cursor = first.err.split()[-1]
    second = weir("executions", "list", "--limit", "2", "--cursor", cursor, "--format", "json")

    assert [item["id"] for item in second.json["items"]] == ids[:1]


def test_an_execution_is_shown_with_its_steps(weir: Weir) -> None:
    execution_id = weir("run", "todo.add", "-i", "body=x", "--format", "json").json["id"]

    shown = weir("executions", "show", execution_id, "--steps")
    as_json = weir("executions", "show", execution_id, "--steps", "--format", "json").json

    assert "through cli in space default" in shown.out
    assert "○ tell" in shown.out
    assert [step["path"] for step in as_json["steps"]] == ["title", "check", "create", "tell", "answer"]


@pytest.mark.req("S-10")
def test_a_trace_is_drawn_by_execution_id_and_by_correlation_id(weir: Weir) -> None:
    execution = weir("run", "todo.add", "-i", "body=x", "--format", "json").json

    drawn = weir("telemetry", "trace", execution["id"])

    assert drawn.out == weir("telemetry", "trace", execution["correlation_id"]).out
    lines = drawn.out.splitlines()
    assert lines[0].startswith(f"trace {execution['correlation_id']}: 1 execution, 5 steps, 1 change, ")
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["POST", "/api/commands/<slug>/executions"],
        ["└─", "todo.add"],
    ]
    assert all(len(line) <= 100 for line in lines[1:])
    items = weir("telemetry", "trace", execution["id"], "--format", "json").json["items"]
    # The request that asked for it may end after it.
    own = [item["event_type"] for item in items if item["component"] != "http"]
    assert own[-1] == "command.execution.completed"


def test_the_trace_of_an_unknown_id_says_so(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.telemetry.SETTLE_S", 0)
    typed = weir("telemetry", "trace", "0198a000-0000-7000-8000-0000000000aa")

    assert typed.code == 1
    assert "nothing that is stored belongs to" in typed.err


def test_a_folder_of_notes_comes_in_and_a_bad_one_is_named_at_the_end(weir: Weir) -> None:
    notes = Path("notes/inner")
    notes.mkdir(parents=True)
    (notes / "one.md").write_text("---\ntags: [a]\n---\n# One\n\nHello #there")
    (notes.parent / "two.md").write_text("# Two\n")
    (notes / "bad.md").write_bytes(b"\xff\xfe\xff")

    typed = weir("fragments", "import", "notes", "--space", "lab")
    again = weir("fragments", "import", "notes", "--space", "lab", "--format", "json")

    assert typed.code == 0
    assert "2 notes in notes: 2 created, 0 updated, 0 already there, 1 left out" in typed.out
    assert "inner/bad.md: " in typed.err
    assert again.json["unchanged"] == 2
    assert [fault["source"] for fault in again.json["faults"]] == ["inner/bad.md"]
    listed = weir("fragments", "list", "--space", "lab", "--format", "json").json["items"]
    assert {item["title"]: item["tags"] for item in listed} == {"One": ["a", "there"], "Two": []}


def test_an_import_of_nothing_but_bad_notes_fails(weir: Weir) -> None:
    Path("notes").mkdir()
    Path("notes/bad.md").write_bytes(b"\xff\xfe\xff")

    assert weir("fragments", "import", "notes").code == 1


def test_a_note_the_api_refuses_does_not_keep_the_others_out(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notes").mkdir()
    Path("notes/one.md").write_text("# One")
    Path("notes/two.md").write_text("# Two")
    # A newer API may refuse what this command line takes for a note.
    monkeypatch.setattr(
        "api.cli.note_import._note_json", lambda note: {"source": note.source if note.title == "One" else ""}
    )

    typed = weir("fragments", "import", "notes")

    assert typed.code == 0
    assert "1 note in notes: 1 created" in typed.out
    assert typed.err.splitlines()[-1].startswith("two.md: ")


def test_many_bad_notes_of_a_batch_cost_only_themselves(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notes").mkdir()
    bad = {3, 4, 17, 39}
    for number in range(40):
        Path(f"notes/{number:02}.md").write_text(f"# {number}")
    monkeypatch.setattr(
        "api.cli.note_import._note_json",
        lambda note: {"source": "" if int(note.title) in bad else note.source, "title": note.title},
    )

    typed = weir("fragments", "import", "notes", "--format", "json")

    assert typed.json["created"] == 36
    assert [fault["source"] for fault in typed.json["faults"]] == [f"{number:02}.md" for number in sorted(bad)]


def test_an_empty_folder_is_said_to_be_one(weir: Weir) -> None:
    Path("notes/.hidden").mkdir(parents=True)
    Path("notes/.hidden/one.md").write_text("# One")
    Path("notes/picture.png").write_text("")

    typed = weir("fragments", "import", "notes")

    assert (typed.code, typed.out, typed.err) == (0, "There are no notes (*.md, *.markdown) in notes.\n", "")


@pytest.mark.parametrize("folder", ["nowhere", "a-file.md"])
def test_what_is_no_folder_is_refused(offline_weir: Weir, folder: str) -> None:
    Path("a-file.md").write_text("# One")

    typed = offline_weir("fragments", "import", folder)

    assert (typed.code, typed.out) == (2, "")
    assert folder in typed.err


def test_an_import_that_nobody_answers_says_what_is_in_and_how_to_go_on(offline_weir: Weir) -> None:
    Path("notes").mkdir()
    Path("notes/one.md").write_text("# One")

    typed = offline_weir("fragments", "import", "notes")

    assert (typed.code, typed.out) == (1, "")
    assert "0 notes of notes are in; run it again for the rest." in typed.err
    assert "nothing answers" in typed.err


def test_a_fault_of_a_note_has_its_line_and_what_was_expected(weir: Weir) -> None:
    Path("notes").mkdir()
    Path("notes/one.md").write_text("---\na: 1\na: 2\n---\n")
    Path("notes/two.md").write_text("---\ntype: not one\n---\n")

    typed = weir("fragments", "import", "notes")

    assert "one.md:3: `a` is given twice" in typed.err
    assert "two.md: 'not one' cannot be the type (expected: 1 to 63 lower case letters" in typed.err


def test_an_import_into_something_that_cannot_be_a_space_is_refused_once(weir: Weir) -> None:
    Path("notes").mkdir()
    Path("notes/one.md").write_text("# One")

    typed = weir("fragments", "import", "notes", "--space", "Not A Space")

    assert typed.code == 1
    assert "space: " in typed.err


def test_a_command_is_shown_with_its_inputs_and_its_text(weir: Weir) -> None:
    shown = weir("commands", "show", "todo.add")

    assert "-i body=…  string, required" in shown.out
    assert "slug: todo.add" in shown.out


def test_faulty_files_are_pointed_out_in_the_list(weir: Weir, busy_api: Api) -> None:
    busy_api.write("broken", "  - {id: a, type: respnd}\n")

    assert "1 file with faults" in weir("commands", "list").out


def test_a_fragment_is_shown_with_all_of_its_content(weir: Weir) -> None:
    made = weir("run", "todo.add", "-i", "body=buy milk, and bread", "--format", "json").json
    fragment_id = made["result"]["fragment_id"]

    shown = weir("fragments", "show", fragment_id)
    listed = weir("fragments", "list", "--type", "todo")

    assert shown.code == 0
    assert "buy milk, and bread" in shown.out
    assert '"status": "open"' in shown.out
    assert weir("fragments", "show", fragment_id, "--format", "json").json["id"] == fragment_id
    assert "open" in listed.out
    assert weir("fragments", "show", "x").code == 1
