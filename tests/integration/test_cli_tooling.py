"""What the command line does for those who write commands, without a server: schema, step types, validation, tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fixtures.apis import Weir

from api.cli.output import print_items, print_json
from dsl.library import PACKS
from dsl.schema import command_schema, fixture_schema
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"


def test_the_schema_is_printed_or_written(offline_weir: Weir) -> None:
    printed = offline_weir("commands", "schema")
    written = offline_weir("commands", "schema", "--output", "command.schema.json")

    assert (printed.code, printed.err, written.code) == (0, "", 0)
    assert printed.json == command_schema(REGISTRY, DslSettings())
    assert Path("command.schema.json").read_text("utf-8") == printed.out
    assert written.out == "command.schema.json\n"
    assert offline_weir("commands", "schema").out == printed.out
    jsonschema_rs.Draft202012Validator(printed.json)
    assert offline_weir("commands", "schema", "--fixtures").json == fixture_schema()


def test_the_tables_of_the_configuration_are_in_the_schema(offline_weir: Weir) -> None:
    Path("weir.toml").write_text('[tables.books]\nreadable = ["id", "title"]\nwritable = ["title"]\n')
    schema = offline_weir("commands", "schema").json
    (narrowed,) = schema["$defs"]["with:model.query"]["allOf"]
    assert narrowed["properties"]["table"]["enum"] == ["fragments", "books"]


def test_a_schema_that_cannot_be_written_is_said_in_a_line(offline_weir: Weir) -> None:
    typed = offline_weir("commands", "schema", "--output", "no/such/folder.json")
    assert (typed.code, typed.out) == (2, "")
    assert "No such file or directory" in typed.err


def test_every_step_type_is_listed_with_its_effect(offline_weir: Weir) -> None:
    table = offline_weir("steps", "list")
    listed = offline_weir("steps", "list", "--format", "json")

    assert (table.code, listed.code) == (0, 0)
    assert [item["name"] for item in listed.json["items"]] == sorted(REGISTRY)
    assert all(item["summary"] and item["output"] and item["example"] for item in listed.json["items"])
    for name in REGISTRY:
        assert name in table.out
    assert offline_weir("steps", "list", "--format", "csv").out.startswith("name,effect,summary\n")


def test_a_step_type_is_shown_with_all_it_says_of_itself(offline_weir: Weir) -> None:
    shown = offline_weir("steps", "show", "list.map").out
    item = offline_weir("steps", "show", "list.map", "--format", "json").json

    for part in (
        "items: list; required",
        "on_error: `stop` or `continue`; default stop; never a template",
        "do: list of steps",
    ):
        assert part in shown
    assert [each["name"] for each in item["parameters"]] == ["items", "do", "as", "on_error"]
    assert {each["reading"] for each in item["parameters"]} == {"value", "steps", "literal"}
    assert set(item["measures"]) == {"items", "succeeded", "failed"}
    assert "type: list.map" in item["example"]


def test_a_step_type_that_is_not_there_brings_the_nearest(offline_weir: Weir) -> None:
    typed = offline_weir("steps", "show", "list.mpa")
    assert (typed.code, typed.out) == (1, "")
    assert "Did you mean list.map?" in typed.err


def test_a_folder_of_broken_files_is_told_of_whole_and_in_order(offline_weir: Weir) -> None:
    typed = offline_weir("commands", "validate", str(CORPUS / "written"), "--format", "json")

    assert (typed.code, typed.err) == (1, "")
    names = [Path(item["source"]).name for item in typed.json["items"]]
    assert names == sorted(path.name for path in (CORPUS / "written").iterdir())
    assert all(item["errors"] for item in typed.json["items"])
    assert set(typed.json["items"][0]) == {"source", "slug", "errors", "warnings", "in_place_of"}

    table = offline_weir("commands", "validate", str(CORPUS / "written"))
    assert (table.code, table.err) == (1, "")
    assert "\x1b" not in table.out
    assert re.fullmatch(rf"✗ {len(names)} files have \d+ faults", table.out.splitlines()[-1])


def test_slugs_are_compared_over_everything_that_is_named(offline_weir: Weir) -> None:
    text = "slug: todo.add\nsteps: [{id: a, type: respond, with: {value: 1}}]\n"
    for folder in ("one", "two", "commands"):
        Path(folder).mkdir()
        Path(folder, "mine.yaml").write_text(text)

    typed = offline_weir("commands", "validate", "one", "two")
    assert typed.code == 1
    assert "the slug todo.add is already that of one/mine.yaml (library.duplicate_slug)" in typed.out
    assert offline_weir("commands", "validate").code == 0  # one of ./commands takes the place of the pack
    of_slug = offline_weir("commands", "validate", "todo.add", "--format", "json").json["items"]
    assert [Path(item["source"]).name for item in of_slug] == ["mine.yaml"]


def test_warnings_fail_only_when_they_are_asked_to(offline_weir: Weir) -> None:
    Path("a.yaml").write_text("slug: a\nsteps: [{id: a, type: respond, if: false, with: {value: 1}}]\n")

    typed = offline_weir("commands", "validate", "a.yaml")
    assert typed.code == 0
    assert "a.yaml:2:36: warning: this step never runs" in typed.out
    assert "✓ 1 command is fine" in typed.out
    assert offline_weir("commands", "validate", "a.yaml", "--strict").code == 1


def test_standard_input_is_checked_like_a_file(offline_weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"slug: a\nsteps:\n  - {id: s, type: respond, value: 1}\n"
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text)))
    typed = offline_weir("commands", "validate", "-")

    assert (typed.code, typed.err) == (1, "")
    assert typed.out.splitlines() == [
        "<stdin>:3:28: `value` is a parameter of `respond`, and not a key of a step (command.misplaced_key)",
        "    3 |   - {id: s, type: respond, value: 1}",
        "      |                            ^",
        "      expected: `with: {value: …}`",
        "✗ 1 file has 1 fault",
    ]
    monkeypatch.setattr("sys.stdin", None)
    assert "there is no standard input" in offline_weir("commands", "validate", "-").err


def test_everything_that_is_named_and_not_there_is_told_of_with_the_nearest(offline_weir: Weir) -> None:
    Path("empty").mkdir()
    typed = offline_weir("commands", "validate", "todo.ad", "none.yaml", "empty", "todo.add")

    assert (typed.code, typed.out) == (2, "")
    assert (
        "there is neither a command nor a file 'todo.ad' - did you mean todo.add?; there is no file none.yaml; "
        "there are no command files in empty\n"
    ) in typed.err


@pytest.mark.parametrize("name", ["", "x" * 300, "./" + "x" * 300, os.fsdecode(b"\xff.yaml"), "a\nb", "~/*"])
def test_a_name_that_can_be_no_file_is_answered_in_a_line(offline_weir: Weir, name: str) -> None:
    typed = offline_weir("commands", "validate", name)
    assert (typed.code, typed.out) == (2, "")
    assert "there is n" in typed.err.splitlines()[-1]
    assert len(typed.err) < 500


def test_a_command_in_place_of_a_pack_is_told_of_when_it_is_made_and_when_it_is_checked(offline_weir: Weir) -> None:
    made = offline_weir("commands", "new", "todo.add")
    assert made.out.splitlines()[:2] == ["commands/todo.add.yaml", "It takes the place of the pack todo.add."]

    checked = offline_weir("commands", "validate", "todo.add")
    assert checked.out.splitlines() == [
        "commands/todo.add.yaml takes the place of the pack todo.add",
        "✓ 1 command is fine",
    ]
    (item,) = offline_weir("commands", "validate", "todo.add", "--format", "json").json["items"]
    assert item["in_place_of"] == "todo.add (pack)"
    assert "pack" not in offline_weir("commands", "new", "my.own").out


def test_a_new_command_takes_no_slug_and_no_file_that_is_there(offline_weir: Weir) -> None:
    Path("commands").mkdir()
    Path("commands/other.yaml").write_text("slug: mine\n")
    Path("commands/own.yaml").write_text("slug: another\n")
    for slug, says in (("mine", "commands/other.yaml is there already, with the slug mine"), ("own", "own.yaml is")):
        typed = offline_weir("commands", "new", slug)
        assert (typed.code, typed.out) == (1, "")
        assert says in typed.err
    assert sorted(path.name for path in Path("commands").iterdir()) == ["other.yaml", "own.yaml"]


def test_a_new_command_that_cannot_be_written_is_said_in_two_lines(offline_weir: Weir) -> None:
    Path("commands").write_text("no folder")
    typed = offline_weir("commands", "new", "hello")

    assert (typed.code, typed.out) == (1, "")
    assert typed.err.splitlines() == [
        "weir: the folder commands cannot be made: File exists (command.not_written)",
        "      WEIR_COMMANDS_DIR names another folder.",
    ]


def test_json_is_the_same_whether_it_is_printed_item_by_item_or_whole(capsys: pytest.CaptureFixture[str]) -> None:
    lists: list[list[dict[str, Any]]] = [[], [{"a": 1}], [{"a": ["x\u2028\n", {}]}, {"b": "ü"}]]
    for items in lists:
        print_items(items)
        printed = capsys.readouterr().out
        print_json({"items": items, "next_cursor": None})
        assert printed == capsys.readouterr().out


def test_a_file_of_50_mb_takes_neither_long_nor_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50 << 20)
    program = (
        "import resource, sys; from api.cli.main import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024); sys.exit(code)"
    )
    grown = []
    for what in (str(path), "todo.add"):
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program, "commands", "validate", what],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        grown.append(int(done.stdout.splitlines()[-1]))
    assert grown[0] - grown[1] < 20


def test_the_fixtures_of_the_packs_pass_on_the_command_line(offline_weir: Weir) -> None:
    typed = offline_weir("commands", "test", str(PACKS / "tests"))
    assert (typed.code, typed.err) == (0, "")
    assert typed.out.splitlines()[-1].endswith("tests passed")


FIXTURES = """\
command: todo.add
given: {create: {output: {fragment_id: x}}}
tests:
  - name: It is kept
    inputs: {body: milk}
    expected: {result: {fragment_id: x, title: milk}}
  - name: It is told of
    inputs: {body: milk}
    expected: {path: [title, check, create, tell, answer], result: {fragment_id: y, title: milk}}
  - name: It needs somebody to tell
    inputs: {body: milk, priority: high}
"""


def test_what_is_not_as_expected_is_shown_side_by_side(offline_weir: Weir) -> None:
    Path("todo.test.yaml").write_text(FIXTURES)

    typed = offline_weir("commands", "test", "todo.test.yaml")

    assert (typed.code, typed.err) == (1, "")
    assert typed.out.splitlines() == [
        "✓ todo.add: It is kept",
        "✗ todo.add: It is told of",
        "    path",
        "        title",
        "        check",
        "        create",
        "      - tell",
        "      + tell: skipped",
        "        answer",
        "    result.fragment_id",
        '      expected: "y"',
        '      found:    "x"',
        "✗ todo.add: It needs somebody to tell",
        "    the step tell (notify) has an effect, and nothing stands in for it",
        "    Give it an output: given: {tell: {output: ...}}",
        "3 tests, 2 failed",
    ]


def test_results_as_json_keep_what_is_missing_apart_from_null(offline_weir: Weir) -> None:
    Path("todo.test.yaml").write_text(FIXTURES.replace("fragment_id: y, title: milk", "titel: null"))

    typed = offline_weir("commands", "test", "todo.test.yaml", "--format", "json")

    kept, told, needs = typed.json["items"]
    assert (typed.code, typed.json["next_cursor"]) == (1, None)
    assert kept == {
        "source": "todo.test.yaml", "command": "todo.add", "name": "It is kept",
        "passed": True, "differences": [], "errors": [],
    }  # fmt: skip
    assert told["differences"][1:] == [
        {"at": "result.titel", "expected": None},
        {"at": "result.fragment_id", "found": "x"},
        {"at": "result.title", "found": "milk"},
    ]
    assert needs["errors"][0]["code"] == "test.output_not_given"
    assert needs["errors"][0]["path"] == "tell"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("command: todo.ad\ntests: [{name: a}]\n", "there is no command todo.ad"),
        ("command: todo.add\ntest: []\n", "todo.test.yaml:2:1: `test` is not a key of a fixture file"),
        ("command: todo.add\ntests: [{name: a, given: {crate: {}}}]\n", "did you mean: create"),
        ("command: broken.yaml\ntests: [{name: a}]\n", "broken.yaml:2:27: there is no step type `respnd`"),
        ("\x00", "todo.test.yaml:1:1: "),
        ("command: ../none.yaml\ntests: [{name: a}]\n", "todo.test.yaml:1:10: the file "),
        ("command: .//\ntests: [{name: a}]\n", "todo.test.yaml:1:10: the file "),
    ],
)
def test_what_is_wrong_with_the_fixtures_is_told_like_faults_of_commands(
    offline_weir: Weir, text: str, says: str
) -> None:
    Path("todo.test.yaml").write_text(text)
    Path("broken.yaml").write_text("slug: broken\nsteps: [{id: a, type: respnd}]\n".replace("[{id: a", "[ {id: abcd"))

    typed = offline_weir("commands", "test", "todo.test.yaml")

    assert (typed.code, typed.err) == (1, "")
    assert says in typed.out


def test_without_files_the_tests_beside_ones_own_commands_run(offline_weir: Weir) -> None:
    none = offline_weir("commands", "test")
    assert (none.code, none.out) == (2, "")
    assert "there is no folder commands/tests" in none.err

    Path("commands/tests").mkdir(parents=True)
    assert "there are no fixture files in commands/tests" in offline_weir("commands", "test").err

    Path("commands/tests/todo.yaml").write_text(FIXTURES)
    typed = offline_weir("commands", "test")
    assert (typed.code, typed.out.splitlines()[-1]) == (1, "3 tests, 2 failed")


def test_a_command_file_of_ones_own_is_tested_where_it_lies(offline_weir: Weir) -> None:
    offline_weir("commands", "new", "hello")
    Path("commands/tests").mkdir()
    Path("commands/tests/hello.yaml").write_text(
        "command: ../hello.yaml\ntests:\n  - name: It greets\n    inputs: {name: Ada}\n    given: {keep: {}}\n"
        "    expected: {result: Hello Ada!}\n"
    )
    typed = offline_weir("commands", "test", "commands/tests", "--format", "json")
    assert (typed.code, [item["passed"] for item in typed.json["items"]]) == (0, [True])
    assert json.loads(json.dumps(typed.json)) == typed.json
    assert offline_weir("commands", "validate").code == 0  # folders are not looked into: fixtures are no commands
