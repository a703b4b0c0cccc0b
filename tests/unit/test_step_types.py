"""Step types that need no database: what they make of their parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from dsl.errors import StepFailed
from dsl.step import Effect
from dsl.steps import REGISTRY
from dsl.steps.condition import Condition
from dsl.steps.list_map import ListMap
from dsl.steps.notify import Notify
from dsl.steps.respond import Respond
from dsl.steps.transform import Transform
from dsl.steps.validate import Rule, Validate
from dsl.testing import PlainChildren, PlainTools, make_context, make_execution, make_spec, run_step
from telemetry.events import MEASURES

SHOUT = make_spec("shout", "transform", lambda names: {"template": names["item"].upper()})
BREAK_ON_B = make_spec(
    "check", "validate", lambda names: {"rules": [{"value": names["item"], "in": ["a", "c"], "message": "not b"}]}
)


def failing_rules(rules: list[dict[str, Any]]) -> list[tuple[int, str]]:
    with pytest.raises(StepFailed) as caught:
        run_step(Validate(), {"rules": rules})
    faults: Any = caught.value.facts["faults"]
    return [(fault["index"], fault["rule"]) for fault in faults]


# Every type


@pytest.mark.parametrize("name", REGISTRY)
def test_a_step_type_is_registered_under_its_own_name_and_documents_itself(name: str) -> None:
    step = REGISTRY[name]
    assert step.type == name
    doc = type(step).__doc__ or ""
    assert "Output:" in doc
    assert "Example:" in doc
    for model in (step.Params, step.Literals):
        if model is not None:
            for field_name, field in model.model_fields.items():
                assert field.description, f"{name}: {field_name} has no description"


@pytest.mark.parametrize("name", REGISTRY)
def test_a_step_type_refuses_parameters_it_does_not_know(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        REGISTRY[name].Params.model_validate({"no_such_parameter": 1})


# transform and respond


@pytest.mark.parametrize("value", ["text", 3, 2.5, True, None, [1, {"a": None}], {"k": ["v"]}])
def test_without_a_format_a_value_keeps_its_type(value: object) -> None:
    assert run_step(Transform(), {"template": value}).output == value
    assert run_step(Respond(), {"value": value}).output == value


@pytest.mark.parametrize(
    ("value", "text"), [("as is", "as is"), ({"é": [1, None]}, '{"é":[1,null]}'), (None, ""), (True, "true"), (1, "1")]
)
def test_the_text_format_makes_json_of_what_is_not_text(value: object, text: str) -> None:
    assert run_step(Transform(), {"template": value, "format": "text"}).output == text


def test_the_json_format_parses_text_and_leaves_other_values() -> None:
    assert run_step(Transform(), {"template": '{"a": [1, 2]}', "format": "json"}).output == {"a": [1, 2]}
    assert run_step(Transform(), {"template": [1], "format": "json"}).output == [1]


@pytest.mark.parametrize("text", ["", "{", "NaN", "[-Infinity]", "{'a': 1}", "[" * 100_000])
def test_text_that_is_not_json_fails_the_step(text: str) -> None:
    with pytest.raises(StepFailed):
        run_step(Transform(), {"template": text, "format": "json"})


# validate


@pytest.mark.req("C-08")
def test_values_that_keep_all_rules_pass_and_are_counted() -> None:
    rules = [
        {"value": "ab", "required": True, "type": "string", "pattern": "^[a-z]+$", "min": 2, "max": 2, "in": ["ab"]},
        {"value": 3, "type": "integer", "min": 3, "max": 3, "in": [1, 3]},
        {"value": None, "type": "string", "pattern": "x", "min": 5},
        {"value": ["a"], "type": "array", "min": 1},
    ]
    result = run_step(Validate(), {"rules": rules})
    assert result.output == {"checked": 4}
    assert result.measures == {"faults": 0}


def test_a_failure_lists_every_broken_check_of_every_rule() -> None:
    rules: list[dict[str, Any]] = [
        {"value": "", "required": True},
        {"value": "fine", "required": True},
        {"value": "xyz", "type": "integer", "pattern": "^a", "min": 4, "in": ["a"]},
        {"value": 9, "max": 8},
    ]
    assert failing_rules(rules) == [(0, "required"), (2, "type"), (2, "pattern"), (2, "min"), (2, "in"), (3, "max")]


@pytest.mark.req("C-06")
def test_a_failure_names_rules_and_messages_but_repeats_no_value() -> None:
    with pytest.raises(StepFailed) as caught:
        run_step(Validate(), {"rules": [{"value": "s3cret", "pattern": "^[0-9]+$", "message": "digits, please"}]})
    assert caught.value.facts["faults"] == [{"index": 0, "rule": "pattern", "message": "digits, please"}]
    assert "digits, please" in caught.value.detail
    assert "s3cret" not in repr(caught.value) + repr(caught.value.facts)


@pytest.mark.req("C-08")
def test_how_many_checks_failed_is_measured_although_the_step_fails() -> None:
    spec = make_spec("check", "validate")
    context = make_context(spec)
    params = Validate.Params.model_validate({"rules": [{"value": None, "required": True}, {"value": 1, "max": 0}]})
    with pytest.raises(StepFailed):
        Validate().run(params, context)
    assert context.measures == {"faults": 2}


def test_a_check_that_does_not_apply_to_a_value_is_broken() -> None:
    assert failing_rules([{"value": 12345, "pattern": "^[0-9]{5}$"}]) == [(0, "pattern")]
    assert failing_rules([{"value": True, "min": 0}]) == [(0, "min")]


def test_true_is_not_one() -> None:
    assert failing_rules([{"value": True, "in": [1]}, {"value": True, "type": "integer"}]) == [(0, "in"), (1, "type")]


def test_a_pattern_that_explodes_elsewhere_takes_linear_time() -> None:
    assert failing_rules([{"value": "a" * 100_000 + "!", "pattern": "^(a+)+$"}]) == [(0, "pattern")]


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "(a)\\1", "(a{1000}){1000}", "a" * 1001])
def test_a_pattern_that_is_none_or_unbounded_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate({"value": "a", "pattern": pattern})


# condition


@pytest.mark.req("C-08")
@pytest.mark.parametrize(
    ("value", "has_else", "branch", "output", "skipped"),
    [
        (True, True, "then", "yes", ["no"]),
        (False, True, "else", "no", ["yes"]),
        (False, False, "none", None, ["yes"]),
        (True, False, "then", "yes", []),
    ],
)
def test_a_condition_runs_one_branch_and_records_the_other_as_skipped(
    value: bool, has_else: bool, branch: str, output: str | None, skipped: list[str]
) -> None:
    blocks = {"then": (make_spec("yes", "respond", {"value": "yes"}),)}
    if has_else:
        blocks["else"] = (make_spec("no", "respond", {"value": "no"}),)
    context = make_context(make_spec("check", "condition", conditions={"if": value}, blocks=blocks))
    result = Condition().run(Condition.Params(), context)
    assert result.output == {"branch": branch, "output": output}
    assert result.measures == {"branch": branch}
    assert isinstance(context.children, PlainChildren)
    assert context.children.skipped == skipped


def test_a_condition_fails_with_what_its_branch_raised() -> None:
    check = make_spec("check", "validate", {"rules": [{"value": None, "required": True}]})
    with pytest.raises(StepFailed, match="required"):
        run_step(Condition(), conditions={"if": True}, blocks={"then": [check]})


# list.map


@pytest.mark.req("C-08")
def test_a_map_keeps_the_order_and_counts_its_items() -> None:
    result = run_step(ListMap(), {"items": ["a", "b", "c"]}, blocks={"do": [SHOUT]})
    assert result.output == {"items": 3, "succeeded": 3, "failed": 0, "results": ["A", "B", "C"]}
    assert result.measures == {"items": 3, "succeeded": 3, "failed": 0}


def test_a_map_over_nothing_succeeds() -> None:
    result = run_step(ListMap(), {"items": []}, blocks={"do": [SHOUT]})
    assert result.output == {"items": 0, "succeeded": 0, "failed": 0, "results": []}


def test_a_map_freezes_its_list_before_the_first_child_and_uses_what_was_kept() -> None:
    spec = make_spec("each", "list.map", blocks={"do": [SHOUT]})
    context = make_context(spec)

    class Kept(PlainChildren):
        def freeze(self, items: object) -> list[str]:
            assert not self.paths
            return ["kept"]

    context.children = Kept(context, {})
    assert ListMap().run(ListMap.Params(items=["a", "b"]), context).output["results"] == ["KEPT"]


def test_the_item_has_the_name_that_was_asked_for_and_loop_says_where_it_is() -> None:
    seen = make_spec("seen", "transform", lambda names: {"template": [names["word"], dict(names["loop"])]})
    result = run_step(ListMap(), {"items": ["x", "y"]}, literals={"as": "word"}, blocks={"do": [seen]})
    assert result.output["results"] == [
        ["x", {"index": 1, "index0": 0, "first": True, "last": False, "length": 2}],
        ["y", {"index": 2, "index0": 1, "first": False, "last": True, "length": 2}],
    ]


@pytest.mark.req("C-08")
def test_a_map_that_continues_counts_what_failed_and_leaves_null_for_it() -> None:
    literals = {"on_error": "continue"}
    result = run_step(ListMap(), {"items": ["a", "b", "c"]}, literals=literals, blocks={"do": [BREAK_ON_B, SHOUT]})
    assert result.output == {"items": 3, "succeeded": 2, "failed": 1, "results": ["A", None, "C"]}
    assert result.measures == {"items": 3, "succeeded": 2, "failed": 1}


@pytest.mark.req("C-08")
def test_a_map_that_stops_raises_what_the_item_raised_and_has_counted_until_there() -> None:
    context = make_context(make_spec("each", "list.map", blocks={"do": [BREAK_ON_B]}))
    with pytest.raises(StepFailed, match="not b"):
        ListMap().run(ListMap.Params(items=["a", "b", "c"]), context)
    assert context.measures == {"items": 3, "succeeded": 1, "failed": 1}
    assert isinstance(context.children, PlainChildren)
    assert context.children.paths == ["each[0].check", "each[1].check"]


def test_maps_inside_maps_see_both_items() -> None:
    pair = make_spec("pair", "transform", lambda names: {"template": names["outer"] + names["inner"]})
    inside = make_spec("inside", "list.map", {"items": ["1", "2"]}, literals={"as": "inner"}, blocks={"do": [pair]})
    result = run_step(ListMap(), {"items": ["a", "b"]}, literals={"as": "outer"}, blocks={"do": [inside]})
    assert [one["results"] for one in result.output["results"]] == [["a1", "a2"], ["b1", "b2"]]


def test_a_map_refuses_more_items_than_the_limit() -> None:
    with pytest.raises(StepFailed, match="at most 2"):
        run_step(ListMap(), {"items": [1, 2, 3]}, tools=PlainTools(max_map_items=2), blocks={"do": [SHOUT]})


@pytest.mark.parametrize("literals", [{"as": "2nd"}, {"as": "a-b"}, {"on_error": "ignore"}, {"unknown": 1}])
def test_what_a_map_takes_literally_is_checked(literals: dict[str, object]) -> None:
    assert ListMap.Literals is not None
    with pytest.raises(ValidationError):
        ListMap.Literals.model_validate(literals)


# notify to the log


@pytest.mark.req("C-14", "C-08")
def test_the_log_channel_writes_ids_level_and_length_but_not_the_message() -> None:
    execution = make_execution()
    message = "the s3cret plan"
    with capture_logs() as lines:
        result = run_step(Notify(), {"channel": "log", "level": "warning", "message": message}, execution=execution)
    assert lines == [
        {
            "event": "notification.logged",
            "log_level": "warning",
            "execution_id": str(execution.id),
            "step_path": "step",
            "message_characters": len(message),
        }
    ]
    assert result.measures == {"channel": "log", "message_level": "warning"}
    assert result.mutations == ()
    assert result.output == {
        "channel": "log",
        "level": "warning",
        "user": "tester",
        "message": message,
        "sent": True,
        "notification_id": None,
    }


@pytest.mark.req("C-10")
def test_a_dry_run_writes_no_log_line_and_says_what_it_would_have_sent() -> None:
    with capture_logs() as lines:
        result = run_step(Notify(), {"channel": "log", "message": "hello"}, execution=make_execution(dry_run=True))
    assert lines == []
    assert result.output["sent"] is False
    assert result.output["message"] == "hello"
    assert result.measures == {"channel": "log", "message_level": "info"}


def test_the_effect_of_a_notification_is_that_of_its_channel() -> None:
    def effect(channel: str) -> Effect:
        return Notify().effect_of(Notify.Params.model_validate({"channel": channel, "message": ""}))

    assert effect("inbox") is Effect.DATABASE
    assert effect("log") is Effect.EXTERNAL


# measures


@pytest.mark.req("C-14")
def test_every_measure_a_step_reports_is_registered() -> None:
    results = [
        run_step(Validate(), {"rules": []}),
        run_step(ListMap(), {"items": []}, blocks={"do": [SHOUT]}),
        run_step(Condition(), conditions={"if": False}, blocks={"then": [SHOUT]}),
        run_step(Notify(), {"channel": "log", "message": ""}),
    ]
    for result in results:
        for key, value in result.measures.items():
            choices = MEASURES[key]
            assert isinstance(value, int) if choices is None else value in choices


def test_a_step_asked_to_run_steps_without_declaring_it_is_a_bug_that_says_so() -> None:
    spec = make_spec("each", "respond")
    context = replace(make_context(spec), children=None)
    with pytest.raises(RuntimeError, match="respond"):
        context.nested()
