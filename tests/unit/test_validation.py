"""Many files at once: order, slugs that are there twice, and what can never run."""

from __future__ import annotations

import os
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dsl.check import load
from dsl.document import read
from dsl.errors import Fault
from dsl.library import PACKS
from dsl.lint import warnings
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.validation import Given, Report, validate

SETTINGS = DslSettings()


def write(folder: Path, name: str, slug: str = "a", step: str = "type: respond, with: {value: 1}") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"slug: {slug}\nsteps:\n  - {{id: s, {step}}}\n")
    return path


def looked_at(*sources: Path | Given, packs: Path = PACKS) -> list[Report]:
    return list(validate(sources, REGISTRY, SETTINGS, packs=packs))


def told(reports: list[Report]) -> list[tuple[str, list[str]]]:
    return [(Path(report.path).name, [fault.code for fault in report.faults]) for report in reports]


def test_files_are_looked_at_in_the_order_given_and_those_of_a_folder_by_name(tmp_path: Path) -> None:
    write(tmp_path / "two", "b.yaml", "b")
    write(tmp_path / "two", "a.yml", "a")
    write(tmp_path / "two", ".hidden.yaml", "h")
    (tmp_path / "two" / "inside").mkdir()
    one = write(tmp_path / "one", "z.yaml", "z", "type: respnd")
    reports = looked_at(one, tmp_path / "two", one)
    assert told(reports) == [("z.yaml", ["command.unknown_step_type"]), ("a.yml", []), ("b.yaml", [])]
    assert [report.slug for report in reports] == ["z", "a", "b"]


def test_a_slug_that_is_there_twice_is_a_fault_of_the_later_file_over_all_folders(tmp_path: Path) -> None:
    first = write(tmp_path / "one", "first.yaml")
    write(tmp_path / "two", "second.yaml")
    _, second = looked_at(tmp_path / "one", tmp_path / "two")
    (fault,) = second.faults
    assert (fault.code, fault.line, fault.column) == ("library.duplicate_slug", 1, 1)
    assert str(first) in fault.message


def test_a_file_may_take_the_slug_of_a_pack_and_a_faulty_one_takes_none(tmp_path: Path) -> None:
    write(tmp_path / "packs", "a.yaml")
    write(tmp_path / "own", "broken.yaml", "a", "type: respnd")
    write(tmp_path / "own", "mine.yaml")
    write(tmp_path / "own", "mine.again.yaml")
    packs = tmp_path / "packs"
    reports = looked_at(packs, tmp_path / "own", packs=packs)
    assert told(reports) == [
        ("a.yaml", []),
        ("broken.yaml", ["command.unknown_step_type"]),
        ("mine.again.yaml", []),
        ("mine.yaml", ["library.duplicate_slug"]),
    ]
    assert [report.in_place_of for report in reports] == [None, None, packs / "a.yaml", None]
    (alone,) = looked_at(tmp_path / "own" / "mine.yaml", packs=packs)
    assert alone.in_place_of == packs / "a.yaml"


def test_what_cannot_be_read_or_told_of_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "pipe.yaml").symlink_to("/dev/null")
    (tmp_path / os.fsdecode(b"z\xff.yaml")).write_text("slug: a\n")
    reports = looked_at(tmp_path, tmp_path / "none.yaml")
    assert [fault.code for report in reports for fault in report.faults] == [
        *("file.unreadable", "file.misnamed", "file.unreadable"),
    ]
    assert [Path(report.path).name for report in reports] == ["pipe.yaml", "z\ufffd.yaml", "none.yaml"]


def test_a_file_that_is_not_on_disk_is_looked_at_like_any_other(tmp_path: Path) -> None:
    given = Given("<stdin>", b"slug: a\nsteps: [{id: s, type: respond, with: {value: 1}}]\n")
    one, two = looked_at(given, write(tmp_path, "a.yaml"))
    assert (one.path, one.slug, one.faults) == ("<stdin>", "a", ())
    assert two.faults[0].message == "the slug a is already that of <stdin>"


def test_one_file_is_in_memory_at_a_time(tmp_path: Path) -> None:
    for number in range(30):
        path = write(tmp_path, f"{number}.yaml", f"s{number}")
        path.write_text(path.read_text() + "#" * 200_000)
    tracemalloc.start()
    try:
        assert all(not report.faults for report in validate([tmp_path], REGISTRY, SETTINGS, packs=PACKS))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_the_packs_are_sound_and_nothing_in_them_is_in_vain() -> None:
    reports = looked_at(PACKS)
    assert len(reports) == len(list(PACKS.glob("*.yaml")))
    assert [report for report in reports if report.faults or report.warnings] == []


def warned(text: str, slugs: set[str] | None = None) -> tuple[Fault, ...]:
    return warnings(load(text, REGISTRY, SETTINGS, origin="a"), read(text, SETTINGS), SETTINGS, slugs)


def test_a_schedule_whose_one_time_has_passed_is_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "a")
    path.write_text(
        path.read_text()
        + "\nschedules:\n  - {id: gone, at: '2026-03-01T09:00'}\n  - {id: to-come, at: '2026-03-01T11:00'}\n"
    )
    now = datetime(2026, 3, 1, 10, tzinfo=UTC)
    (report,) = validate([path], REGISTRY, SETTINGS, packs=PACKS, now=now)
    assert report.faults == ()
    assert [(warning.code, warning.path) for warning in report.warnings] == [("command.never_runs", "schedules[0].at")]


def test_commands_that_are_not_there_are_told_beside_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("""slug: a
steps:
  - {id: x, type: respond}
  - {id: y, type: command.run, with: {command: todo.ad}}
  - {id: z, type: command.run, with: {command: a}}
""")
    (report,) = validate([path], REGISTRY, SETTINGS, packs=PACKS, slugs={"todo.add"})
    assert report.faults
    assert [(one.code, one.path, one.line, one.nearest) for one in report.warnings] == [
        ("command.unknown_command", "steps[1].with.command", 4, "todo.add")
    ]


INNER = "[{id: x, type: respond, with: {value: 1}}]"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("type: respond, if: ^false, with: {value: 1}", "steps[0].if"),
        ("type: respond, if: ^1 > 2, with: {value: 1}", "steps[0].if"),
        ("type: respond, if: ^not true, with: {value: 1}", "steps[0].if"),
        (
            f"type: condition, with: {{if: true, then: {INNER}, else: ^{INNER.replace('x', 'y')}}}",
            "steps[0].with.else",
        ),
        (f"type: condition, with: {{if: nil, then: ^{INNER}}}", "steps[0].with.then"),
        (f"type: list.map, with: {{items: [], do: ^{INNER}}}", "steps[0].with.do"),
        (
            "type: list.map, with: {items: [1], do: [{id: x, type: respond, if: ^false, with: {value: 1}}]}",
            "steps[0].with.do[0].if",
        ),
    ],
)
def test_what_can_never_run_is_warned_of(step: str, path: str) -> None:
    line = f"  - {{id: s, {step}}}"
    text = f"slug: a\nsteps:\n{line.replace('^', '')}\n"
    (warning,) = warned(text)
    place = (warning.code, warning.path, warning.line, warning.column)
    assert place == ("command.never_runs", path, 3, line.index("^") + 1)


@pytest.mark.parametrize(
    "step",
    [
        "type: respond, if: true, with: {value: 1}",
        "type: respond, if: inputs.a, with: {value: 1}",
        "type: respond, if: inputs.a and false or inputs.b, with: {value: 1}",
        "type: respond, if: \"1 > 'x'\", with: {value: 1}",
        f"type: condition, with: {{if: true, then: {INNER}}}",
        f"type: condition, with: {{if: inputs.a, then: {INNER}}}",
        f"type: list.map, with: {{items: [1], do: {INNER}}}",
        f"type: list.map, with: {{items: '{{{{ inputs.a }}}}', do: {INNER}}}",
        "type: validate, with: {rules: [{value: null, required: true}]}",
    ],
)
def test_what_depends_on_anything_is_not_warned_of(step: str) -> None:
    text = f"slug: a\nsteps:\n  - {{id: s, {step}}}\n"
    assert warned(text) == ()


def test_warnings_come_in_the_order_of_the_text_and_of_what_runs_after_a_failure_too() -> None:
    text = (
        "slug: a\non_failure: [{id: f, type: respond, if: false, with: {value: 1}}]\n"
        "steps: [{id: s, type: respond, if: false, with: {value: 1}}]\n"
    )
    assert [warning.path for warning in warned(text)] == ["on_failure[0].if", "steps[0].if"]


SAYS_A = "steps: [{id: s, type: respond, with: {value: '{{ inputs.a }}'}}]\n"


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("inputs: {a: {}, ^b: {}}\n" + SAYS_A, "command.unused_input", "inputs.b"),
        ("inputs: {type: object, properties: {a: {}, ^type: {}}}\n" + SAYS_A, "command.unused_input", None),
        ("inputs: {a: {}}\nrequires: {secrets: [^TOKEN]}\n" + SAYS_A, "command.unused_secret", "requires.secrets[0]"),
    ],
)
def test_inputs_and_secrets_that_nothing_names_are_warned_of(text: str, code: str, path: str | None) -> None:
    text = f"slug: a\n{text}"
    (warning,) = warned(text.replace("^", ""))
    before = text[: text.index("^")]
    where = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (warning.code, warning.path) == (code, path or "inputs.properties.type")
    assert (warning.line, warning.column) == where


@pytest.mark.parametrize(
    "text",
    [
        "steps: [{id: s, type: respond, with: {value: '{{ inputs }}'}}]\n",
        "steps: [{id: s, type: respond, with: {value: '{{ inputs[now] }}'}}]\n",
        "steps: [{id: s, type: respond, if: inputs.a, with: {value: '{{ secrets.T }}'}}]\n",
        f"steps: [{{id: s, type: condition, with: {{if: inputs.a, then: {INNER}}}}}]\n",
        "steps: [{id: s, type: respond, with: {value: 1}}]\nconcurrency: {key: '{{ inputs.a }}', max: 1}\n",
        "on_failure: [{id: f, type: respond, with: {value: '{{ inputs.a }}'}}]\n"
        "steps: [{id: s, type: respond, with: {value: 1}}]\n",
    ],
)
def test_inputs_that_are_named_anywhere_are_not_warned_of(text: str) -> None:
    secrets = "requires: {secrets: [T]}\n" if "secrets.T" in text else ""
    assert warned(f"slug: a\ninputs: {{a: {{}}}}\n{secrets}{text}") == ()


@pytest.mark.parametrize(("slug", "meant"), [("todo.ad", "todo.add"), ("nothing.like.it", None)])
def test_a_command_that_is_run_and_is_not_there_is_warned_of(slug: str, meant: str | None) -> None:
    run = f"{{id: r, type: command.run, with: {{command: {slug}}}}}"
    text = f"slug: a\nsteps:\n  - {{id: s, type: list.map, with: {{items: [1], do: [{run}]}}}}\n"
    (warning,) = warned(text, {"todo.add"})
    assert (warning.code, warning.path) == ("command.unknown_command", "steps[0].with.do[0].with.command")
    assert (warning.line, warning.column, warning.nearest) == (3, text.splitlines()[2].index(slug) + 1, meant)
    assert warned(text, {slug}) == warned(text) == ()


def test_a_command_may_run_itself() -> None:
    assert warned("slug: a\nsteps: [{id: r, type: command.run, with: {command: a}}]\n", set()) == ()
