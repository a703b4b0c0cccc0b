"""Rehearsals: the real executor with given outputs, what is read of fixture files, and what is told of differences."""

from __future__ import annotations

from typing import Any

import pytest

from dsl.check import load
from dsl.command import Command
from dsl.errors import CommandInvalid, Fault
from dsl.rehearsal.differences import MISSING, Difference, compare, differences
from dsl.rehearsal.fixtures import Case, Expected, check_paths, read_fixtures
from dsl.rehearsal.run import OutputNotGiven, Rehearsal, rehearse
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

SETTINGS = DslSettings()

COMMAND = """
slug: sample
inputs:
  names: {type: array, items: {type: string}, default: [a, b]}
  loud: {type: boolean, default: false}
requires: {secrets: [TOKEN]}
steps:
  - id: each
    type: list.map
    with:
      items: "{{ inputs.names }}"
      as: name
      on_error: continue
      do:
        - {id: keep, type: fragment.create, with: {type: note, title: "{{ name | upcase }} {{ now }}"}}
        - id: choose
          type: condition
          with:
            if: name == 'a'
            then: [{id: first, type: respond, with: {value: "{{ steps.keep.output.id }} {{ uuid }}"}}]
            else: [{id: other, type: transform, with: {template: "{{ execution.user }} {{ secrets.TOKEN }}"}}]
  - {id: tell, type: notify, if: inputs.loud, with: {channel: log, message: "{{ steps.each.output.succeeded }} kept"}}
  - {id: more, type: command.run, if: inputs.loud, with: {command: note.add, inputs: {content: x}}}
  - {id: answer, type: respond, with: {value: "{{ steps.each.output.results }}"}}
"""


def command(text: str = COMMAND) -> Command:
    return load(text, REGISTRY, SETTINGS, origin="sample.yaml")


def run(text: str = COMMAND, **case: Any) -> Rehearsal:  # noqa: ANN401 - fields of Case
    return rehearse(command(text), Case.model_validate({"name": "a test", **case}), REGISTRY, SETTINGS)


KEPT = {"each[*].keep": {"output": {"id": "f1"}}}


def test_what_computes_runs_and_what_has_an_effect_is_stood_in_for() -> None:
    found = run(given=KEPT, now="2026-02-03T04:05:06Z", user="ada", secrets={"TOKEN": "t"})
    assert found.outcome == "succeeded"
    assert found.path == (
        ("each", "succeeded"),
        ("each[0].keep", "succeeded"),
        ("each[0].choose", "succeeded"),
        ("each[0].choose.other", "skipped"),
        ("each[0].choose.first", "succeeded"),
        ("each[1].keep", "succeeded"),
        ("each[1].choose", "succeeded"),
        ("each[1].choose.first", "skipped"),
        ("each[1].choose.other", "succeeded"),
        ("tell", "skipped"),
        ("more", "skipped"),
        ("answer", "succeeded"),
    )
    assert found.parameters["each[0].keep"] == {"type": "note", "title": "A 2026-02-03T04:05:06.000000Z"}
    assert found.outputs["each[1].choose.other"] == "ada t"
    assert found.mutations == {"each[0].keep": 1, "each[1].keep": 1}
    assert found.result == run(given=KEPT, user="ada", secrets={"TOKEN": "t"}).result  # its `uuid` does not change


def test_what_is_given_for_one_item_comes_before_what_is_given_for_all() -> None:
    found = run(given={**KEPT, "each[1].keep": {"error": "no room", "mutations": 3}}, secrets={"TOKEN": "t"})
    assert found.outcome == "succeeded"
    assert found.outputs["each"]["failed"] == 1
    assert dict(found.path)["each[1].keep"] == "failed"
    assert found.mutations == {"each[0].keep": 1}


def test_a_whole_map_may_be_stood_in_for() -> None:
    found = run(given={"each": {"output": {"results": [7]}}})
    assert found.path == (("each", "succeeded"), ("tell", "skipped"), ("more", "skipped"), ("answer", "succeeded"))
    assert found.result == [7]


def test_an_effect_without_an_output_is_named_even_where_failures_are_passed_over() -> None:
    with pytest.raises(OutputNotGiven, match=r"each\[0\].keep \(fragment.create\) has an effect") as caught:
        run()
    assert caught.value.hint == "Give it an output: given: {each[0].keep: {output: ...}}"
    for missing, given in (("tell", KEPT), ("more", {**KEPT, "tell": {}})):
        with pytest.raises(OutputNotGiven, match=missing):
            run(given=given, inputs={"loud": True}, secrets={"TOKEN": "t"})


@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_leaves_the_process_and_a_command_that_is_run_is_no_mutation(dry_run: bool) -> None:
    given = {"each": {"output": {"results": [], "succeeded": 0}}, "tell": {}, "more": {"output": {"submitted": True}}}
    found = run(given=given, inputs={"loud": True}, dry_run=dry_run)
    assert found.mutations == {}
    assert found.parameters["tell"] == {"channel": "log", "message": "0 kept"}
    assert found.parameters["more"] == {"command": "note.add", "await": False, "inputs": {"content": "x"}}


def test_parameters_of_what_is_stood_in_for_are_checked_all_the_same() -> None:
    text = 'slug: a\nsteps: [{id: q, type: fragment.query, with: {limit: "{{ inputs.n }}"}}]\n'
    found = run(text, inputs={"n": "many"}, given={"q": {"output": {}}})
    assert (found.outcome, found.failed_path, found.error_code, found.error_type) == (
        "failed", "q", None, "ValidationError",
    )  # fmt: skip
    assert found.error_message == "limit: Input should be a valid integer"


def test_inputs_that_are_refused_end_it_before_it_begins() -> None:
    found = run(inputs={"names": "x", "lod": True})
    assert found.outcome == "refused"
    assert {fault.path: fault.code for fault in found.faults} == {
        "inputs.lod": "inputs.unknown",
        "inputs.names": "inputs.type",
    }


REFUSED = Fault("inputs.type", "it is no text", "inputs.a")


def found(**fields: Any) -> Rehearsal:  # noqa: ANN401 - fields of Rehearsal
    return Rehearsal(**{"outcome": "succeeded", **fields})


@pytest.mark.parametrize(
    ("expected", "rehearsal", "at"),
    [
        ({}, found(), []),
        ({}, found(outcome="failed", error=ValueError("why"), failed_path="s"), ["outcome", "error"]),
        ({"result": 1}, found(outcome="failed", error=ValueError("why"), failed_path="s"), ["outcome", "error"]),
        ({"outcome": "failed"}, found(outcome="failed", error=ValueError("why")), []),
        ({"error": {"message": "hy"}}, found(outcome="failed", error=ValueError("why")), []),
        ({"error": {"message": "no"}}, found(outcome="failed", error=ValueError("why")), ["error.message"]),
        ({"error": {"type": "KeyError", "step": "s", "code": "c"}}, found(outcome="failed", error=ValueError("why")),
         ["error.step", "error.code", "error.type"]),
        ({"error": {}}, found(), ["outcome"]),
        ({"path": ["a", {"b": "skipped"}]}, found(path=(("a", "succeeded"), ("b", "skipped"))), []),
        ({"path": ["a"]}, found(path=(("a", "failed"),)), ["path"]),
        ({"result": None}, found(result=None), []),
        ({"result": None}, found(result=0), ["result"]),
        ({"result": True}, found(result=1), ["result"]),
        ({"result": {"a": [1, {"b": 2}]}}, found(result={"a": [1, {"b": 3}, 4]}), ["result.a[1].b", "result.a[2]"]),
        ({"result": {"a": 1}}, found(result={"b": 1}), ["result.a", "result.b"]),
        ({"outputs": {"s": 1}}, found(outputs={"s": 1, "t": 2}), []),
        ({"outputs": {"s": 1}}, found(), ["outputs.s"]),
        ({"parameters": {"s": {"a": 1}}}, found(parameters={"s": {"a": 1, "b": 2}}), []),
        ({"parameters": {"s": {"a": 1}}}, found(parameters={"s": {"b": 2}}), ["parameters.s.a"]),
        ({"parameters": {"s": {"a": 1}}}, found(), ["parameters.s"]),
        ({"mutations": {"s": 2, "t": 0}}, found(mutations={"s": 2}), []),
        ({"mutations": {}}, found(mutations={"s": 2}), ["mutations.s"]),
        ({"faults": {"inputs.a": "inputs.type"}}, found(outcome="refused", faults=(REFUSED,)), []),
        ({"faults": {}}, found(outcome="refused", faults=(REFUSED,)), ["faults.inputs.a"]),
    ],
)  # fmt: skip
def test_what_is_expected_is_compared_and_nothing_else(
    expected: dict[str, Any], rehearsal: Rehearsal, at: list[str]
) -> None:
    assert [one.at for one in differences(Expected.model_validate(expected), rehearsal)] == at


def test_what_is_missing_on_a_side_is_not_null() -> None:
    assert list(compare("x", {"a": None}, {"b": None})) == [
        Difference("x.a", None, MISSING),
        Difference("x.b", MISSING, None),
    ]
    assert repr(MISSING) == "nothing"


FIXTURES = """\
command: sample.yaml
now: 2026-02-03
given:
  each[*].keep: {output: 1}
tests:
  - name: one
    given: {each: {output: 2}}
  - name: two
    now: 2027-01-01T00:00:00+02:00
    expected:
      path: [each, each[0].choose.first: skipped]
""".replace(
    "path: [each, each[0].choose.first: skipped]", "path:\n        - each\n        - each[0].choose.first: skipped"
)


def test_a_file_says_what_holds_for_all_its_tests() -> None:
    fixtures = read_fixtures(FIXTURES.encode(), SETTINGS, source="f.yaml")
    check_paths(fixtures, command())
    one, two = fixtures.cases()
    assert one.now == "2026-02-03"
    assert {path: given.output for path, given in one.given.items()} == {"each[*].keep": 1, "each": 2}
    assert two.now == "2027-01-01T00:00:00+02:00"
    assert two.expected.path == ["each", {"each[0].choose.first": "skipped"}]


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "nearest"),
    [
        ("", "file.empty", 1, 1, None),
        ("- a\n", "test.wrong_type", 1, 1, None),
        ("tests: [{name: a}]\n", "test.missing_key", 1, 1, None),
        ("command: a\n", "test.missing_key", 1, 1, None),
        ("command: a\ntests: []\n", "test.wrong_parameter", 2, 8, None),
        ("command: a\ntests: [{}]\n", "test.missing_key", 2, 9, None),
        ("command: a\ntest: [{name: a}]\ntests: [{name: a}]\n", "test.unknown_key", 2, 1, "tests"),
        ("command: a\nnow: soon\ntests: [{name: a}]\n", "test.wrong_parameter", 2, 6, None),
        ("command: a\ntests: [{name: a, now: soon}]\n", "test.wrong_parameter", 2, 24, None),
        ("command: a\ntests: [{name: a, given: {s: {outptu: 1}}}]\n", "test.unknown_key", 2, 31, "output"),
        ("command: a\ntests: [{name: a, expected: {outcome: succeded}}]\n", "test.wrong_parameter", 2, 39, "succeeded"),
        ("command: a\ntests: [{name: {{ a }}}]\n", "yaml.unquoted_template", 2, 16, None),
        ("command: a\ntests: [{name: a}, {name: a}]\n", "test.duplicate_name", 2, 27, None),
        ("command: a\ntests: [{name: a, given: {s: {output: 1, error: b}}}]\n", "test.wrong_parameter", 2, 30, None),
        ("command: a\ntests: [{name: a, expected: {path: [{s: skiped}]}}]\n", "test.wrong_parameter", 2, 41, "skipped"),
        ("command: a\ntests: [{name: a, expected: {path: [3]}}]\n", "test.wrong_parameter", 2, 37, None),
    ],
)
def test_what_is_wrong_with_a_fixture_file_is_told_where_it_is(
    text: str, code: str, line: int, column: int, nearest: str | None
) -> None:
    with pytest.raises(CommandInvalid) as caught:
        read_fixtures(text.encode(), SETTINGS, source="f.yaml")
    (fault,) = caught.value.faults
    assert (fault.code, fault.line, fault.column, fault.nearest) == (code, line, column, nearest)


@pytest.mark.parametrize(
    ("test", "path", "nearest"),
    [
        ("given: {kep: {}}", "tests[0].given.kep", None),
        ("given: {each.keeep: {}}", "tests[0].given['each.keeep']", "each.keep"),
        ("expected: {path: [each, eahc]}", "tests[0].expected.path.eahc", "each"),
        ("expected: {outputs: {tel: 1}}", "tests[0].expected.outputs.tel", "tell"),
        ("expected: {parameters: {tel: {}}}", "tests[0].expected.parameters.tel", "tell"),
        ("expected: {mutations: {tel: 1}}", "tests[0].expected.mutations.tel", "tell"),
        ("expected: {error: {step: tel}}", "tests[0].expected.error.step", "tell"),
    ],
)
def test_a_step_that_the_command_has_not_is_a_fault_of_the_file(test: str, path: str, nearest: str | None) -> None:
    fixtures = read_fixtures(f"command: a\ntests: [{{name: a, {test}}}]\n".encode(), SETTINGS, source="f.yaml")
    with pytest.raises(CommandInvalid) as caught:
        check_paths(fixtures, command())
    (fault,) = caught.value.faults
    assert (fault.code, fault.path, fault.nearest) == ("test.unknown_step", path, nearest)
    assert fault.line == 2
