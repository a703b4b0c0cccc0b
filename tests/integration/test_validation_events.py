"""Validation failures as events, of every door: submissions, `validate` steps, and commands that run commands."""

from __future__ import annotations

import pytest
from fixtures.apis import Api, Weir

from telemetry.events import FieldFault, StepFailed
from workers.testing import World

RULES = """
slug: rules
inputs: {age: {type: integer}, name: {type: string}}
steps:
  - id: each
    type: list.map
    with:
      items: [1, 2]
      on_error: continue
      do:
        - id: check
          type: validate
          with:
            rules:
              - {value: "{{ inputs.name }}", required: true, message: Say who}
              - {value: "{{ inputs.name }}", type: string, pattern: "^[a-z]+$", max: 5}
              - {value: "{{ inputs.age }}", min: 18, in: [18, 19]}
"""

PARENT = """
slug: parent
inputs: {data: {type: object}}
steps:
  - {id: start, type: command.run, with: {command: todo.add, inputs: "{{ inputs.data }}"}}
"""


def failed_step(world: World) -> StepFailed:
    found = [event for event in world.recorder.events if isinstance(event, StepFailed)]
    return found[0]


@pytest.mark.req("C-06")
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_validate_step_tells_which_rules_were_broken_and_how(world: World, dry_run: bool) -> None:
    world.run(RULES, {"name": "SOMEBODY", "age": 3}, dry_run=dry_run)

    event = failed_step(world)
    assert event.failed_fields == (
        FieldFault("rules[1]", "pattern"),
        FieldFault("rules[1]", "max"),
        FieldFault("rules[2]", "min"),
        FieldFault("rules[2]", "in"),
    )
    assert event.measures == {"faults": 4}
    assert event.scope.user_id == world.pseudonyms.user("tester")
    assert event.scope.request_source == "api"


@pytest.mark.req("C-06")
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_command_that_is_run_with_wrong_inputs_tells_which(world: World, dry_run: bool) -> None:
    execution = world.run(PARENT, {"data": {"priority": "SECRET", "secret": "SECRET"}}, dry_run=dry_run)

    event = failed_step(world)
    assert execution.state == "failed"
    assert event.failed_fields == (
        FieldFault("inputs.<unknown>", "unknown"),
        FieldFault("inputs.priority", "enum"),
        FieldFault("inputs.body", "required"),
    )
    assert "secret" not in str(event).lower()


@pytest.mark.req("C-06")
@pytest.mark.parametrize(
    ("step", "field", "rule"),
    [
        ("type: notify, with: {channel: inbox, message: '{{ inputs.data }}'}", "with.message", "type"),
        ("type: notify, with: {channel: '{{ inputs.data.secret }}', message: x}", "with.channel", "enum"),
        ("type: fragment.update, with: {id: '{{ inputs.data.secret }}', title: x}", "with.id", "format"),
        ("type: fragment.query, with: {limit: '{{ 0 }}'}", "with.limit", "minimum"),
        ("type: search.query, with: {text: '{{ inputs.data.long }}'}", "with.text", "max_length"),
        ("type: validate, with: {rules: '{{ inputs.data.rules }}'}", "with.rules", "unknown"),
        ("type: list.map, with: {items: '{{ inputs.data }}', do: [{id: a, type: respond, with: {value: 1}}]}",
         "with.items", "type"),
    ],
)  # fmt: skip
def test_parameters_that_are_not_what_the_step_type_declares_are_told(
    world: World, step: str, field: str, rule: str
) -> None:
    source = f"slug: a\ninputs: {{data: {{type: object}}}}\nsteps: [{{id: x, {step}}}]\n"
    data = {
        "secret": "SECRET",
        "long": "SECRET" * 1000,
        "rules": [{"value": 1, "SECRET": 1}, {"value": 1, "SECRET2": 1}],
    }

    world.run(source, {"data": data})

    event = failed_step(world)
    assert event.failed_fields == (FieldFault(field, rule),)  # type: ignore[arg-type]  # a word of the closed set
    assert "secret" not in str(event).lower()


@pytest.mark.req("C-06")
def test_a_refused_submission_is_told_with_who_asked_and_through_which_door(weir: Weir, busy_api: Api) -> None:
    typed = weir("run", "todo.add", "-i", "secret=x", "--user", "Ada")

    assert typed.code == 1
    events = weir("telemetry", "events", "--event-type", "command.validation.failed", "--format", "json").json["items"]
    [refused] = events
    assert refused["request_source"] == "cli"
    assert refused["user_id"] == busy_api.resources.pseudonyms.user("Ada").hex()
    assert refused["command_slug"] == "todo.add"
    assert refused["measures"]["failed_fields"] == [
        {"field": "inputs.<unknown>", "rule": "unknown"},
        {"field": "inputs.body", "rule": "required"},
    ]
    trace = weir("telemetry", "trace", refused["correlation_id"])
    assert "todo.add refused: inputs.<unknown> (unknown), inputs.body (required)" in trace.out
    listed = weir("telemetry", "events", "--event-type", "command.validation.failed")
    assert "inputs.<unknown>" in listed.out
