"""A command file in; a command, or every fault of it, out. A fault of each kind, in the order of the file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, JsonValue

from dsl.check import definition_hash, load
from dsl.command import Command, Position, Retry
from dsl.errors import CommandInvalid, ExpressionError, Fault
from dsl.settings import DslSettings
from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class Rule(StepParams):
    value: JsonValue
    at_most: int | None = Field(default=None, alias="max")
    kind: Literal["low", "high"] = "low"


class SayParams(StepParams):
    text: str
    times: int = 1
    rules: list[Rule] = Field(default_factory=list)
    state: dict[str, JsonValue] = Field(default_factory=dict)
    either: int | list[Rule] | None = None


class MapLiterals(StepParams):
    as_: str = Field(default="item", alias="as", pattern="^[a-z_]+$")
    on_error: Literal["stop", "continue"] = "stop"


class MapParams(StepParams):
    items: list[JsonValue]


class NoParams(StepParams):
    pass


class AnyParams(StepParams, extra="allow"):
    pass


class _Idle(Step):
    effect = Effect.NONE

    def run(self, params: Any, context: StepContext) -> StepResult:  # noqa: ANN401 - never run here
        return StepResult()


class Say(_Idle):
    type = "say"
    Params = SayParams


class Each(_Idle):
    type = "each"
    Params = MapParams
    blocks: ClassVar = {"do": True}
    Literals = MapLiterals


class Check(_Idle):
    type = "check"
    Params = NoParams
    blocks: ClassVar = {"then": True, "else": False}
    conditions: ClassVar = ("if",)


class Free(_Idle):
    type = "free"
    Params = AnyParams


class AskLiterals(StepParams):
    await_: bool = Field(default=False, alias="await")


class Ask(_Idle):
    type = "ask"
    Params = NoParams
    Literals = AskLiterals
    waits_if: ClassVar = "await"


REGISTRY: Mapping[str, Step] = {"say": Say(), "ask": Ask(), "each": Each(), "check": Check(), "free": Free()}
SAY = "{id: s, type: say, with: {text: x}}"


def make(text: str) -> Command:
    return load(text, REGISTRY, DslSettings(), origin="test.yaml")


def faults_of(text: str) -> tuple[Fault, ...]:
    with pytest.raises(CommandInvalid) as caught:
        make(text)
    assert caught.value.source == "test.yaml"
    return caught.value.faults


def only_fault(text: str) -> Fault:
    faults = faults_of(text)
    assert len(faults) == 1, faults
    return faults[0]


def steps(*written: str, more: str = "") -> str:
    return "slug: a\n" + more + "steps:\n" + "".join(f"  - {step}\n" for step in written)


def test_only_slug_and_steps_are_needed() -> None:
    command = make(
        "slug: hello\nsteps: [{id: greet, type: say, with: {text: \"Hi {{ inputs.name | default: 'you' }}\"}}]\n"
    )
    assert command.slug == "hello"
    assert command.inputs == {"type": "object"}
    assert command.origin == "test.yaml"
    assert command.steps[0].params.evaluate({"inputs": {}}) == {"text": "Hi you"}
    assert command.steps[0].position == Position(2, 9)


def test_a_command_with_everything_is_kept_with_everything() -> None:
    text = """
slug: todo.add
name: Add
version: 1.0.0
description: Adds.
inputs:
  body: {type: string, required: true}
  level: {enum: [low, high], default: low}
requires: {secrets: [API_KEY]}
timeout: 30s
retry: {max_attempts: 3, backoff: 2s, max_backoff: 5m, on: [network, rate_limit]}
concurrency: {key: "{{ execution.space }}", max: 4, on_full: reject}
steps:
  - id: first
    type: say
    if: inputs.level == 'high'
    timeout: 500ms
    retry: {max_attempts: 2}
    with: {text: "{{ inputs.body }} {{ secrets.API_KEY }}", times: 2}
  - id: map
    type: each
    with:
      items: "{{ steps.first.output }}"
      as: tag
      do:
        - {id: inner, type: say, with: {text: "{{ tag }} {{ loop.index }} {{ steps.first.output }}"}}
        - {id: test, type: check, with: {if: steps.inner.output == tag, then: [{id: yes, type: say, with: {text: a}}]}}
on_failure:
  - {id: sorry, type: say, with: {text: "{{ steps.first.output | default: 'nothing' }}"}}
"""
    command = make(text)
    assert (command.name, command.version, command.description) == ("Add", "1.0.0", "Adds.")
    assert command.inputs == {
        "type": "object",
        "properties": {"body": {"type": "string"}, "level": {"enum": ["low", "high"], "default": "low"}},
        "required": ["body"],
        "additionalProperties": False,
    }
    assert command.timeout == timedelta(seconds=30)
    assert command.retry == Retry(3, timedelta(seconds=2), timedelta(minutes=5), ("network", "rate_limit"))
    assert command.concurrency is not None
    assert (command.concurrency.max, command.concurrency.on_full) == (4, "reject")
    assert command.concurrency.key is not None
    assert command.concurrency.key.evaluate({"execution": {"space": "home"}}) == "home"
    assert command.secrets == ("API_KEY",)
    assert command.source == text
    assert command.document["slug"] == "todo.add"
    assert command.definition_hash == definition_hash(command.document)
    assert len(command.definition_hash) == 16
    first, mapped = command.steps
    assert (first.timeout, first.retry) == (timedelta(milliseconds=500), Retry(2))
    assert first.condition is not None
    assert first.condition.evaluate({"inputs": {"level": "high"}}) is True
    assert mapped.literals == {"as": "tag", "on_error": "stop"}
    assert mapped.params.evaluate({"steps": {"first": {"output": [1]}}}) == {"items": [1]}
    inner, test = mapped.blocks["do"]
    assert inner.params.evaluate({"tag": "t", "loop": {"index": 1}, "steps": {"first": {"output": 0}}}) == {
        "text": "t 1 0"
    }
    assert test.conditions["if"].evaluate({"tag": 1, "steps": {"inner": {"output": 1}}}) is True
    assert [spec.id for spec in test.blocks["then"]] == ["yes"]
    assert [spec.id for spec in command.on_failure] == ["sorry"]


@pytest.mark.parametrize(
    ("text", "code", "path", "line", "column", "nearest"),
    [
        ("steps: [" + SAY + "]", "command.missing_key", "slug", 1, 1, None),
        ("slug: a", "command.missing_key", "steps", 1, 1, None),
        ("slug: a\nsteps: []", "command.wrong_value", "steps", 2, 8, None),
        ("slug: a\nsteps: x", "command.wrong_type", "steps", 2, 8, None),
        ("just text", "command.wrong_type", "", 1, 1, None),
        ("- a", "command.wrong_type", "", 1, 1, None),
        ("slug: Todo\nsteps: [" + SAY + "]", "command.wrong_value", "slug", 1, 7, None),
        ("slug: a..b\nsteps: [" + SAY + "]", "command.wrong_value", "slug", 1, 7, None),
        ("slug: 12\nsteps: [" + SAY + "]", "command.wrong_type", "slug", 1, 7, None),
        (steps(SAY, more="nam: x\n"), "command.unknown_key", "nam", 2, 1, "name"),
        (steps(SAY, more="version: 1.0\n"), "command.wrong_type", "version", 2, 10, None),
        (steps(SAY, more="timeout: 30\n"), "command.wrong_value", "timeout", 2, 10, None),
        (steps(SAY, more="timeout: 0s\n"), "command.wrong_value", "timeout", 2, 10, None),
        (steps(SAY, more="timeout: 99999999999999d\n"), "command.wrong_value", "timeout", 2, 10, None),
        (steps(SAY, more="retry: {max_attempts: 0}\n"), "command.wrong_value", "retry.max_attempts", 2, 23, None),
        (
            steps(SAY, more="retry: {max_atempts: 1}\n"),
            "command.unknown_key",
            "retry.max_atempts",
            2,
            9,
            "max_attempts",
        ),
        (
            steps(SAY, more="retry: {backoff: 10m, max_backoff: 1m}\n"),
            *("command.wrong_value", "retry.max_backoff", 2, 36, None),
        ),
        (steps(SAY, more="retry: {on: [netwrok]}\n"), "command.wrong_value", "retry.on[0]", 2, 14, "network"),
        (steps(SAY, more="retry: {on: [server, validation]}\n"), "command.wrong_value", "retry.on[1]", 2, 22, None),
        (steps(SAY, more="retry: {on: [server, server]}\n"), "command.wrong_value", "retry.on[1]", 2, 22, None),
        (steps(SAY, more="retry: {on: [[server]]}\n"), "command.wrong_value", "retry.on[0]", 2, 14, None),
        (steps(SAY, more="retry: {on: []}\n"), "command.wrong_value", "retry.on", 2, 13, None),
        (steps(SAY, more="retry: {on: network}\n"), "command.wrong_type", "retry.on", 2, 13, None),
        (steps(SAY, more="concurrency: {key: a}\n"), "command.missing_key", "concurrency.max", 2, 14, None),
        (
            steps(SAY, more="concurrency: {key: a, max: 1, on_full: rejct}\n"),
            *("command.wrong_value", "concurrency.on_full", 2, 40, "reject"),
        ),
        (
            steps(SAY, more='concurrency: {key: "{{ steps.s.output }}", max: 1}\n'),
            *("command.step_not_run_yet", "concurrency.key", 2, 24, None),
        ),
        (steps(SAY, more="requires: {secret: [A]}\n"), "command.unknown_key", "requires.secret", 2, 12, "secrets"),
        (steps(SAY, more="requires: {secrets: [A, A]}\n"), "command.wrong_value", "requires.secrets[1]", 2, 25, None),
        (steps("{type: say, with: {text: x}}"), "command.missing_key", "steps[0].id", 3, 5, None),
        (steps("{id: s}"), "command.missing_key", "steps[0].type", 3, 5, None),
        (steps("just text"), "command.wrong_type", "steps[0]", 3, 5, None),
        (steps("{id: S1, type: say, with: {text: x}}"), "command.wrong_value", "steps[0].id", 3, 10, None),
        (steps("{id: empty, type: say, with: {text: x}}"), "command.reserved_id", "steps[0].id", 3, 10, None),
        (steps(SAY, SAY), "command.duplicate_id", "steps[1].id", 4, 10, None),
        (steps("{id: s, type: sy, with: {text: x}}"), "command.unknown_step_type", "steps[0].type", 3, 19, "say"),
        (steps("{id: s, type: say, wiht: 1, with: {text: x}}"), "command.unknown_key", "steps[0].wiht", 3, 24, "with"),
        (steps("{id: s, type: say, with: [x]}"), "command.wrong_type", "steps[0].with", 3, 30, None),
        (steps("{id: s, type: say, if: 3, with: {text: x}}"), "command.wrong_type", "steps[0].if", 3, 28, None),
        (steps("{id: s, type: say, if: a ==, with: {text: x}}"), "command.template", "steps[0].if", 3, 32, None),
        (
            steps("{id: s, type: ask, timeout: 1s, with: {await: true}}"),
            *("command.timeout_of_wait", "steps[0].timeout", 3, 33, None),
        ),
        (
            steps("{id: s, type: say, with: {text: x, tmes: 1}}"),
            *("command.unknown_key", "steps[0].with.tmes", 3, 40, "times"),
        ),
        (
            steps("{id: s, type: say, with: {text: x, times: many}}"),
            *("command.wrong_parameter", "steps[0].with.times", 3, 47, None),
        ),
        (
            steps('{id: s, type: say, with: {text: x, rules: [{value: "{{ now }}", mx: 1}]}}'),
            *("command.unknown_key", "steps[0].with.rules[0].mx", 3, 69, "max"),
        ),
        (
            steps('{id: s, type: say, with: {text: "{{ now }}", rules: [{max: 1}]}}'),
            *("command.missing_key", "steps[0].with.rules[0]", 3, 58, None),
        ),
        (
            steps("{id: s, type: say, with: {text: x, rules: [{value: 1, kind: hihg}]}}"),
            *("command.wrong_parameter", "steps[0].with.rules[0].kind", 3, 65, "high"),
        ),
        (steps('{id: s, type: say, with: {text: "{{ }}"}}'), "command.template", "steps[0].with.text", 3, 41, None),
        (
            steps("{id: e, type: each, with: {items: [], do: [], as: x}}"),
            *("command.wrong_value", "steps[0].with.do", 3, 47, None),
        ),
        (
            steps("{id: e, type: each, with: {items: [], as: inputs, do: [" + SAY + "]}}"),
            *("command.reserved_name", "steps[0].with.as", 3, 47, None),
        ),
        (
            steps('{id: e, type: each, with: {items: [], as: "{{ now }}", do: [' + SAY + "]}}"),
            *("command.wrong_value", "steps[0].with.as", 3, 47, None),
        ),
        (
            steps("{id: e, type: each, with: {items: [], on_error: contine, do: [" + SAY + "]}}"),
            *("command.wrong_parameter", "steps[0].with.on_error", 3, 53, "continue"),
        ),
        (
            steps("{id: c, type: check, with: {then: [" + SAY + "]}}"),
            "command.missing_key",
            "steps[0].with.if",
            3,
            32,
            None,
        ),
    ],
)
def test_each_fault_says_where_it_is_and_what_was_meant(  # noqa: PLR0913 - the fields of a fault
    text: str, code: str, path: str, line: int, column: int, nearest: str | None
) -> None:
    fault = only_fault(text)
    assert (fault.code, fault.path, fault.line, fault.column, fault.nearest) == (code, path, line, column, nearest)


@pytest.mark.parametrize(
    ("template", "code", "found", "nearest"),
    [
        ("{{ inpts.a }}", "command.unknown_name", "inpts", "inputs"),
        ("{{ inputs.bdy }}", "command.unknown_input", "bdy", "body"),
        ("{{ execution.usr }}", "command.unknown_name", "usr", "user"),
        ("{{ steps.befor.output }}", "command.unknown_step", "befor", "before"),
        ("{{ steps.before.outptu }}", "command.unknown_name", "outptu", "output"),
        ("{{ steps.this.output }}", "command.step_not_run_yet", "this", None),
        ("{{ steps.after.output }}", "command.step_not_run_yet", "after", None),
        ("{{ steps.hidden.output }}", "command.unknown_step", "hidden", None),
        ("{{ secrets.OTHER }}", "command.unknown_secret", "OTHER", None),
        ("{{ secrets[inputs.body] }}", "command.unknown_secret", "secrets['…']", None),
        ("{{ item }}", "command.unknown_name", "item", None),
        ("{{ now | dat }}", "command.unknown_filter", "dat", "date"),
        ("{% for i in inputs.lst %}{{ i }}{% endfor %}", "command.unknown_input", "lst", None),
    ],
)
def test_names_that_cannot_be_there_are_found_when_the_file_is_loaded(
    template: str, code: str, found: str, nearest: str | None
) -> None:
    text = steps(
        "{id: before, type: each, with: {items: [], do: [{id: hidden, type: say, with: {text: a}}]}}",
        f'{{id: this, type: say, with: {{text: "x {template}"}}}}',
        "{id: after, type: say, with: {text: a}}",
        more="inputs: {body: {type: string}}\nrequires: {secrets: [KEY]}\n",
    )
    fault = only_fault(text)
    assert (fault.code, fault.found, fault.nearest, fault.path, fault.line) == (
        code, found, nearest, "steps[1].with.text", 6
    )  # fmt: skip


@pytest.mark.parametrize(
    "template",
    [
        "{{ inputs.body }}{{ inputs.size }}{{ inputs[now] }}{{ inputs }}",
        "{{ execution.id }}{{ execution.now }}{{ execution.dry_run }}{{ uuid }}",
        "{{ steps.before.output.anything.at.all }}{{ steps['before'].output }}{{ steps }}",
        "{{ secrets.KEY }}",
        "{% assign own = 1 %}{{ own }}{% for x in (1..2) %}{{ x }}{{ forloop.index }}{% endfor %}",
    ],
)
def test_names_that_can_be_there_are_let_through(template: str) -> None:
    make(
        steps(
            "{id: before, type: say, with: {text: a}}",
            f'{{id: this, type: say, with: {{text: "x {template}"}}}}',
            more="inputs: {body: {type: string}}\nrequires: {secrets: [KEY]}\n",
        )
    )


@pytest.mark.parametrize(
    "step", ["type: ask, timeout: 1s", "type: ask, timeout: 1s, with: {await: false}", "type: ask, with: {await: true}"]
)
def test_only_a_wait_takes_no_timeout(step: str) -> None:
    assert make(steps(f"{{id: s, {step}}}")).steps[0].type == "ask"


def test_a_timeout_that_nothing_keeps_is_refused_with_what_to_do_instead() -> None:
    fault = only_fault(steps("{id: s, type: ask, timeout: 1s, with: {await: true}}"))

    assert (fault.found, fault.expected) == ("1s", "no `timeout` here; give the command that is run one")
    assert "`await: true`" in fault.message


def test_names_of_a_map_are_seen_inside_it_only_and_inner_maps_may_hide_outer_ones() -> None:
    inner = (
        "{id: in, type: each, with: {items: [], do: [{id: x, type: say, with: {text: '{{ item }}{{ loop.last }}'}}]}}"
    )
    make(steps(f"{{id: out, type: each, with: {{items: [], do: [{inner.replace('id: in', 'id: inner')}]}}}}"))
    fault = only_fault(
        steps(
            "{id: m, type: each, with: {items: [], as: tag, do: [{id: x, type: say, with: {text: '{{ tag }}'}}]}}",
            "{id: after, type: say, with: {text: '{{ tag }}'}}",
        )
    )
    assert (fault.code, fault.found, fault.path) == ("command.unknown_name", "tag", "steps[1].with.text")


def test_ids_may_repeat_where_their_paths_differ_but_not_in_branches_of_one_step() -> None:
    inner = "{id: n, type: say, with: {text: a}}"
    make(
        steps(
            "{id: a1, type: each, with: {items: [], do: [" + inner + "]}}",
            "{id: a2, type: each, with: {items: [], do: [" + inner + "]}}",
        )
    )
    fault = only_fault(steps("{id: c, type: check, with: {if: 'true', then: [" + inner + "], else: [" + inner + "]}}"))
    assert (fault.code, fault.path) == ("command.duplicate_id", "steps[0].with.else[0].id")
    fault = only_fault(steps("{id: c, type: check, with: {if: true, then: [{id: c, type: say, with: {text: a}}]}}"))
    assert (fault.code, fault.path) == ("command.duplicate_id", "steps[0].with.then[0].id")


def test_without_declared_inputs_any_input_may_be_named() -> None:
    make(steps("{id: s, type: say, with: {text: '{{ inputs.anything }}'}}"))
    schema = "inputs: {type: object, properties: {a: {type: string}}}\n"
    make(steps("{id: s, type: say, with: {text: '{{ inputs.anything }}'}}", more=schema))
    closed = "inputs: {type: object, properties: {a: {type: string}}, additionalProperties: false}\n"
    fault = only_fault(steps("{id: s, type: say, with: {text: '{{ inputs.anything }}'}}", more=closed))
    assert fault.code == "command.unknown_input"


@pytest.mark.parametrize(
    ("inputs", "code", "path", "nearest"),
    [
        ("{n: {type: strng}}", "inputs.schema", "inputs.n.type", "string"),
        ("{n: {type: integer, minimun: 3}}", "inputs.unknown_keyword", "inputs.n.minimun", "minimum"),
        ("{n: {type: integer, minimum: x}}", "inputs.schema", "inputs.n.minimum", None),
        ("{n: {pattern: '(?=x)'}}", "inputs.schema", "inputs.n.pattern", None),
        ("{n: {format: emial}}", "inputs.schema", "inputs.n.format", "email"),
        (
            "{n: {items: {properties: {a: {tpye: x}}}}}",
            "inputs.unknown_keyword",
            "inputs.n.items.properties.a.tpye",
            "type",
        ),
        ("{n: {$ref: 'http://example.com/x'}}", "inputs.remote_reference", "inputs.n.$ref", None),
        ("{n: {anyOf: [{$ref: other.json}]}}", "inputs.remote_reference", "inputs.n.anyOf[0].$ref", None),
        ("{n: {$ref: '#/nowhere'}}", "inputs.schema", "inputs.n.$ref", None),
        ("{n: {$ref: '#/properties/m'}, m: {type: strng}}", "inputs.schema", "inputs.m.type", "string"),
        ("{n: string}", "command.wrong_type", "inputs.n", None),
        ("{a b: {type: string}}", "inputs.name", "inputs['a b']", None),
        ("[a]", "command.wrong_type", "inputs", None),
        ("{n: {type: integer, default: x}}", "inputs.default", "inputs.n.default", None),
        ("{n: {enum: [a, b], default: c}}", "inputs.default", "inputs.n.default", None),
        (
            "{type: object, properties: {n: {type: integer, default: x}}}",
            "inputs.default",
            "inputs.properties.n.default",
            None,
        ),
        ("{type: object, propertis: {}}", "inputs.unknown_keyword", "inputs.propertis", "properties"),
        ("{$schema: 'http://example.com/none', type: object}", "inputs.schema", "inputs.$schema", None),
    ],
)
def test_the_schema_of_the_inputs_is_checked_itself(inputs: str, code: str, path: str, nearest: str | None) -> None:
    fault = only_fault(steps(SAY, more=f"inputs: {inputs}\n"))
    assert (fault.code, fault.path, fault.nearest) == (code, path, nearest)
    assert fault.line == 2


def test_a_whole_schema_is_kept_as_it_is_and_may_refer_to_itself() -> None:
    text = (
        "inputs: {type: object, properties: {a: {$ref: '#/$defs/word', default: hi}}, required: [a],"
        " $defs: {word: {type: string, pattern: '^[a-z]+$'}}, x-note: free}\n"
    )
    command = make(steps(SAY, more=text))
    assert command.inputs["$defs"] == {"word": {"type": "string", "pattern": "^[a-z]+$"}}
    assert command.inputs["required"] == ["a"]


def test_an_input_may_be_called_type_or_properties() -> None:
    command = make(steps(SAY, more="inputs: {type: {enum: [a, b]}, properties: {type: integer, required: true}}\n"))
    assert set(command.inputs["properties"]) == {"type", "properties"}
    assert command.inputs["required"] == ["properties"]


def test_every_fault_of_a_file_is_told_in_the_order_of_its_text() -> None:
    text = """\
slug: Bad Slug
nam: x
inputs: {n: {type: strng}}
steps:
  - {id: a, type: sya}
  - {id: a, type: say, with: {text: "{{ inputs.m }}{{ steps.zz.output }}", times: x}}
  - {id: b, type: say, with: {text: {{ now }}}}
  - {id: c, type: say, with: {text: a, text: b}}
"""
    faults = faults_of(text)
    assert [(fault.code, fault.line) for fault in faults] == [
        ("command.wrong_value", 1),
        ("command.unknown_key", 2),
        ("inputs.schema", 3),
        ("command.unknown_step_type", 5),
        ("command.duplicate_id", 6),
        ("command.unknown_input", 6),
        ("command.unknown_step", 6),
        ("command.wrong_parameter", 6),
        ("yaml.unquoted_template", 7),
        ("yaml.duplicate_key", 8),
    ]


def test_a_file_with_endless_faults_tells_the_first_thousand() -> None:
    faults = faults_of("slug: a\n" + "".join(f"k{n}: 1\n" for n in range(3000)))
    assert len(faults) == 1001
    assert faults[-1].code == "file.too_many_faults"


def test_values_that_hold_templates_are_left_to_the_run() -> None:
    command = make(
        steps(
            '{id: s, type: say, with: {text: "{{ inputs.a }}", times: "{{ inputs.b }}",'
            ' rules: [{value: 1, max: "{{ inputs.c }}"}], either: [{value: "{{ now }}"}], state: {k: "{{ now }}"}}}'
        )
    )
    params = command.steps[0].params.evaluate({"inputs": {"a": "t", "b": 2, "c": 3}, "now": "n"})
    assert Say.Params.model_validate(params).times == 2


def test_a_type_that_takes_any_parameter_gets_any() -> None:
    command = make(steps("{id: s, type: free, with: {whatever: [1, {a: b}]}}"))
    assert command.steps[0].params.evaluate({}) == {"whatever": [1, {"a": "b"}]}


def test_a_step_type_that_cannot_check_its_parameters_is_a_fault_of_the_file_only() -> None:
    class BrokenParams(StepParams):
        text: str

        @classmethod
        def model_validate(cls, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as pydantic's
            raise TypeError

    class Broken(_Idle):
        type = "broken"
        Params = BrokenParams

    with pytest.raises(CommandInvalid) as caught:
        load(steps("{id: s, type: broken, with: {text: x}}"), {"broken": Broken()}, DslSettings(), origin="x")
    assert [fault.code for fault in caught.value.faults] == ["command.wrong_parameter"]


def test_the_hash_is_that_of_what_the_file_means() -> None:
    one = make("slug: a # x\nname: n\nsteps:\n- {id: s, type: say, with: {text: 'x', times: 1}}\n")
    two = make('steps:\n  - with:\n      times: 1\n      text: x\n    type: "say"\n    id: s\nname: n\nslug: a\n')
    other = make("slug: a\nname: n\nsteps:\n- {id: s, type: say, with: {text: 'x', times: 2}}\n")
    assert one.definition_hash == two.definition_hash
    assert one.definition_hash != other.definition_hash
    # The first 16 bytes of: printf '{"name":"n","slug":"a","steps":[{"id":"s",…}]}' | sha256sum
    assert one.definition_hash.hex() == "a1ee5d9b1a09583af5c0e23138f377df"


def test_an_error_of_a_run_points_into_the_file() -> None:
    command = make(
        "slug: a\nsteps:\n  - id: s\n    type: say\n    with:\n      text: |\n        one\n        {{ inputs.nope }}\n"
    )
    with pytest.raises(ExpressionError) as caught:
        command.steps[0].params.evaluate({"inputs": {}})
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (8, 12)
