"""Many files at once: order, slugs that are there twice, and what can never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsl.check import load
from dsl.library import PACKS
from dsl.lint import warnings
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.validation import Report, validate

SETTINGS = DslSettings()


def write(folder: Path, name: str, slug: str = "a", step: str = "type: respond, with: {value: 1}") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"slug: {slug}\nsteps:\n  - {{id: s, {step}}}\n")
    return path


def told(reports: list[Report]) -> list[tuple[str, list[str]]]:
    return [(Path(report.path).name, [fault.code for fault in report.faults]) for report in reports]


def test_files_are_looked_at_in_the_order_given_and_those_of_a_folder_by_name(tmp_path: Path) -> None:
    write(tmp_path / "two", "b.yaml", "b")
    write(tmp_path / "two", "a.yml", "a")
    write(tmp_path / "two", ".hidden.yaml", "h")
    (tmp_path / "two" / "inside").mkdir()
    one = write(tmp_path / "one", "z.yaml", "z", "type: respnd")
    reports = validate([one, tmp_path / "two", one], REGISTRY, SETTINGS)
    assert told(list(reports)) == [("z.yaml", ["command.unknown_step_type"]), ("a.yml", []), ("b.yaml", [])]
    assert [report.slug for report in reports] == ["z", "a", "b"]


def test_a_slug_that_is_there_twice_is_a_fault_of_the_later_file_over_all_folders(tmp_path: Path) -> None:
    first = write(tmp_path / "one", "first.yaml")
    write(tmp_path / "two", "second.yaml")
    _, second = validate([tmp_path / "one", tmp_path / "two"], REGISTRY, SETTINGS)
    (fault,) = second.faults
    assert (fault.code, fault.line, fault.column) == ("library.duplicate_slug", 1, 1)
    assert str(first) in fault.message


def test_a_file_may_take_the_slug_of_a_pack_and_a_faulty_one_takes_none(tmp_path: Path) -> None:
    write(tmp_path / "packs", "a.yaml")
    write(tmp_path / "own", "broken.yaml", "a", "type: respnd")
    write(tmp_path / "own", "mine.yaml")
    write(tmp_path / "own", "mine.again.yaml")
    packs = tmp_path / "packs"
    reports = validate([packs, tmp_path / "own"], REGISTRY, SETTINGS, packs=packs)
    assert told(list(reports)) == [
        ("a.yaml", []),
        ("broken.yaml", ["command.unknown_step_type"]),
        ("mine.again.yaml", []),
        ("mine.yaml", ["library.duplicate_slug"]),
    ]
    assert reports[2].in_place_of == str(packs / "a.yaml")


def test_what_is_not_there_is_an_error_and_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        validate([tmp_path / "none.yaml"], REGISTRY, SETTINGS)
    (tmp_path / "pipe.yaml").symlink_to("/dev/null")
    (report,) = validate([tmp_path / "pipe.yaml"], REGISTRY, SETTINGS)
    assert [fault.code for fault in report.faults] == ["file.unreadable"]


def test_the_packs_are_sound_and_nothing_in_them_is_in_vain() -> None:
    reports = validate([PACKS], REGISTRY, SETTINGS)
    assert len(reports) == len(list(PACKS.glob("*.yaml")))
    assert [report for report in reports if report.faults or report.warnings] == []


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
    (warning,) = warnings(load(text, REGISTRY, SETTINGS, origin="a"), SETTINGS)
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
    assert warnings(load(text, REGISTRY, SETTINGS, origin="a"), SETTINGS) == ()


def test_warnings_come_in_the_order_of_the_text_and_of_what_runs_after_a_failure_too() -> None:
    text = (
        "slug: a\non_failure: [{id: f, type: respond, if: false, with: {value: 1}}]\n"
        "steps: [{id: s, type: respond, if: false, with: {value: 1}}]\n"
    )
    found = warnings(load(text, REGISTRY, SETTINGS, origin="a"), SETTINGS)
    assert [warning.path for warning in found] == ["on_failure[0].if", "steps[0].if"]
