"""The published schema of command files: it takes what the loader takes, and knows the keys the loader knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import jsonschema_rs
import pytest
from pydantic import Field, JsonValue

from dsl.check import load
from dsl.checking.shape import COMMAND, CONCURRENCY, REQUIRES, RETRY, STEP
from dsl.checking.steps import keys_of_with
from dsl.document import read
from dsl.errors import CommandInvalid
from dsl.library import PACKS
from dsl.rehearsal.fixtures import read_fixtures
from dsl.schema import command_schema, fixture_schema
from dsl.settings import DslSettings
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from dsl.steps import REGISTRY
from dsl.testing import TASKS

SETTINGS = DslSettings()
SCHEMA = command_schema(REGISTRY, SETTINGS)
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)


def document(text: str) -> Any:  # noqa: ANN401 - any JSON value
    root = read(text, SETTINGS).root
    assert root is not None
    return root.value()


def with_step(step: str, more: str = "") -> str:
    return f"slug: a\n{more}steps:\n  - {step}\n"


def faults(text: str, registry: Mapping[str, Step] = REGISTRY, settings: DslSettings = SETTINGS) -> list[str]:
    try:
        load(text, registry, settings, origin="any")
    except CommandInvalid as invalid:
        return [fault.code for fault in invalid.faults]
    return []


def test_it_is_a_schema_and_its_references_lead_somewhere() -> None:
    jsonschema_rs.Draft202012Validator(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    targets = {f"#/$defs/{name}" for name in SCHEMA["$defs"]}
    assert set(references(SCHEMA)) == targets


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("path", sorted(PACKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pack_is_valid(path: Any) -> None:  # noqa: ANN401 - a path
    VALIDATOR.validate(document(path.read_text("utf-8")))


def test_every_key_the_loader_reads_is_published_with_its_description_and_no_other() -> None:
    for shape, published in (
        (COMMAND, SCHEMA),
        (STEP, SCHEMA["$defs"]["step"]),
        (RETRY, SCHEMA["properties"]["retry"]),
        (CONCURRENCY, SCHEMA["properties"]["concurrency"]),
        (REQUIRES, SCHEMA["properties"]["requires"]),
    ):
        assert list(published["properties"]) == list(shape.keys)
        assert published["additionalProperties"] is False
        assert all(published["properties"][key]["description"] for key in shape.keys)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_key_of_a_step_type_is_published_with_its_description_and_no_other(name: str) -> None:
    published = SCHEMA["$defs"][f"with:{name}"]
    keys = keys_of_with(REGISTRY[name])
    assert set(published["properties"]) == set(keys)
    assert set(published["required"]) == {key for key, required in keys.items() if required}
    assert published["additionalProperties"] is False
    for key in keys:
        assert published["properties"][key].get("description") or key in REGISTRY[name].conditions


@pytest.mark.parametrize(
    "text",
    [
        with_step("{id: a, type: fragment.query, with: {limit: '{{ inputs.n }}', order: '{{ inputs.o }}'}}"),
        with_step("{id: a, type: fragment.query, with: {fields: ['{{ inputs.f }}'], tags: '{{ inputs.t }}'}}"),
        with_step("{id: a, type: fragment.query, with: {type: null, state: {a: [1, '{{ now }}']}}}"),
        with_step("{id: a, type: fragment.create, with: {type: '{% if true %}a{% endif %}', tags: [a, '{{ now }}']}}"),
        with_step("{id: a, type: validate, with: {rules: [{value: 1, min: '{{ inputs.n }}', in: '{{ inputs.x }}'}]}}"),
        with_step("{id: a, type: respond, with: {value: {any: [thing, null, 1.5]}}, if: true, timeout: 1.5h}"),
        with_step("{id: a, type: command.run, timeout: 1s, with: {command: b}}"),
        with_step("{id: a, type: command.run, timeout: 1s, with: {command: b, await: false}}"),
        with_step("{id: a, type: command.run, with: {command: b, await: true}}"),
        with_step("{id: a, type: condition, with: {if: false, then: [{id: b, type: respond, with: {value: 1}}]}}"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {type: {enum: [a]}, of: {required: true}}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {type: object, required: [a], x-y: 1}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a: {items: false, x-note: {b: c}}}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a: {type: [string, 'null'], default: null}}\n"),
    ],
)
def test_what_the_loader_takes_it_takes(text: str) -> None:
    assert faults(text) == []
    VALIDATOR.validate(document(text))


@pytest.mark.parametrize(
    "text",
    [
        "slug: a\n",
        "slug: A b\nsteps: [{id: a, type: respond, with: {value: 1}}]\n",
        "slug: a\nsteps: []\n",
        with_step("{id: a, type: respond, with: {value: 1}}", "nam: x\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "version: 1.0\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "timeout: 0s\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "timeout: 3 s\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "retry: {max_attempts: 101}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "retry: {on: []}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "retry: {on: [netwrok]}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "retry: {on: [server, server]}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "retry: {on: server}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "concurrency: {key: a, max: 1, on_full: wait}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "requires: {secrets: [a-b]}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a: string}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a: {tpye: string}}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a: {type: strng}}\n"),
        with_step("{id: a, type: respond, with: {value: 1}}", "inputs: {a b: {type: string}}\n"),
        with_step("{id: a, type: respond}"),
        with_step("{id: a, type: respnd, with: {value: 1}}"),
        with_step("{id: if, type: respond, with: {value: 1}}"),
        with_step("{id: A, type: respond, with: {value: 1}}"),
        with_step("{type: respond, with: {value: 1}}"),
        with_step("{id: a, type: respond, if: '{{ true }}', with: {value: 1}}"),
        with_step("{id: a, type: respond, if: 3, with: {value: 1}}"),
        with_step("{id: a, type: fragment.query, with: {limit: many}}"),
        with_step("{id: a, type: fragment.query, with: {limit: 0}}"),
        with_step("{id: a, type: fragment.query, with: {order: newst}}"),
        with_step("{id: a, type: fragment.query, with: {tags: {a: '{{ now }}'}}}"),
        with_step("{id: a, type: validate, with: {rules: [{value: 1, mni: 1}]}}"),
        with_step("{id: a, type: validate, with: {rules: [{min: 1}]}}"),
        with_step("{id: a, type: list.map, with: {items: [], on_error: '{{ now }}', do: []}}"),
        with_step("{id: a, type: condition, with: {if: true, then: []}}"),
        with_step("{id: a, type: condition, with: {if: true, then: [{id: b, type: nope}]}}"),
        with_step("{id: a, type: notify, with: {message: x}}"),
        with_step("{id: a, type: command.run, timeout: 1s, with: {command: b, await: true}}"),
    ],
)
def test_what_is_wrong_by_its_structure_is_refused_by_both(text: str) -> None:
    assert faults(text) != []
    assert not VALIDATOR.is_valid(document(text))


class Inner(StepParams):
    """Holds itself."""

    name: str
    more: list[Inner] = Field(default_factory=list)


class OwnParams(StepParams):
    inner: Inner
    either: int | Inner | None = None
    named: dict[str, int] = Field(default_factory=dict)
    whatever: JsonValue = None


class OwnLiterals(StepParams):
    mode: Literal["a", "b"] = "a"


class Own(Step):
    type = "own.step"
    effect = Effect.NONE
    Params = OwnParams
    Literals = OwnLiterals
    blocks: ClassVar = {"do": False}

    def run(self, params: OwnParams, context: StepContext) -> StepResult:
        return StepResult()


class OpenParams(StepParams, extra="allow"):
    pass


class Open(Step):
    """Takes anything."""

    type = "open"
    effect = Effect.NONE
    Params = OpenParams

    def run(self, params: OpenParams, context: StepContext) -> StepResult:
        return StepResult()


USERS: Mapping[str, Step] = {**REGISTRY, "own.step": Own(), "open": Open()}


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ("{inner: {name: a, more: [{name: '{{ now }}'}]}, either: 3, named: {x: 1}, mode: b}", True),
        ("{inner: '{{ now }}', either: '{{ now }}', named: {x: '{{ now }}'}}", True),
        ("{inner: {name: a, more: '{{ now }}'}, do: [{id: x, type: open, with: {y: {z: 1}}}]}", True),
        ("{inner: {name: a, more: [{nme: a}]}}", False),
        ("{inner: {name: a}, mode: c}", False),
        ("{inner: {name: a}, mode: '{{ now }}'}", False),
        ("{inner: {name: a}, named: {x: many}}", False),
        ("{inner: {name: 3}}", False),
        ("{}", False),
    ],
)
def test_step_types_of_users_are_in_it_with_models_in_models(given: str, valid: bool) -> None:
    text = with_step(f"{{id: a, type: own.step, with: {given}}}")
    assert (faults(text, USERS) == []) is valid
    assert jsonschema_rs.validator_for(command_schema(USERS, SETTINGS)).is_valid(document(text)) is valid


WITH_TASKS = DslSettings(tables=(TASKS,))


@pytest.mark.parametrize(
    ("step", "valid"),
    [
        ("type: model.query, with: {table: tasks, fields: [id], order: [{column: due_on}]}", True),
        ("type: model.query, with: {table: fragments, where: [{column: title, op: contains, value: a}]}", True),
        ("type: model.create, with: {table: tasks, values: {title: '{{ now }}'}}", True),
        ("type: model.create, with: {table: tasks, values: {id: 3}}", False),
        ("type: model.query, with: {table: task}", False),
        ("type: model.query, with: {table: '{{ now }}'}", False),
        ("type: model.query, with: {table: tasks, fields: [hidden]}", False),
        ("type: model.query, with: {table: tasks, where: [{column: hidden, value: 1}]}", False),
        ("type: model.query, with: {table: tasks, where: [{column: id, op: equals, value: 1}]}", False),
        ("type: model.query, with: {table: tasks, where: '{{ now }}'}", False),
        ("type: model.query, with: {table: tasks, order: [{column: '{{ now }}'}]}", False),
        ("type: database.update, with: {table: fragments, set: {title: a}, where: [{column: id, value: 1}]}", False),
    ],
)
def test_declared_tables_are_in_it_with_their_columns(step: str, valid: bool) -> None:
    text = with_step(f"{{id: a, {step}}}")
    assert (faults(text, settings=WITH_TASKS) == []) is valid
    assert jsonschema_rs.validator_for(command_schema(REGISTRY, WITH_TASKS)).is_valid(document(text)) is valid


FIXTURES = fixture_schema()


@pytest.mark.parametrize("path", sorted((PACKS / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_fixtures_of_every_pack_are_valid(path: Any) -> None:  # noqa: ANN401 - a path
    jsonschema_rs.validate(FIXTURES, document(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "command: a\ntests: []\n",
        "command: a\n",
        "command: a\ntests: [{name: b, expect: {}}]\n",
        "command: a\ntests: [{name: b, given: {s: {outptu: 1}}}]\n",
        "command: a\ntests: [{name: b, expected: {outcome: fine}}]\n",
        "command: a\ntests: [{name: b, expected: {path: [{s: passed}]}}]\n",
    ],
)
def test_fixtures_that_are_refused_are_not_valid(text: str) -> None:
    with pytest.raises(CommandInvalid):
        read_fixtures(text.encode(), SETTINGS, source="any")
    assert not jsonschema_rs.is_valid(FIXTURES, document(text))


def test_the_schema_of_fixtures_is_one_and_its_references_lead_somewhere() -> None:
    jsonschema_rs.Draft202012Validator(FIXTURES)
    assert set(references(FIXTURES)) <= {f"#/$defs/{name}" for name in FIXTURES["$defs"]}
