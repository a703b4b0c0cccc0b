"""The published schema and the loader are of one mind: about keys always, about values as far as a schema can say."""

from __future__ import annotations

import copy
import json
import os
import random
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.check import load
from dsl.document import read
from dsl.errors import CommandInvalid
from dsl.library import PACKS
from dsl.schema import command_schema
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

SETTINGS = DslSettings()
VALIDATOR = jsonschema_rs.validator_for(command_schema(REGISTRY, SETTINGS))
EXAMPLES = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200" if os.environ.get("CI") else "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

#: What a schema can say, and must.
STRUCTURAL = {
    *("command.unknown_key", "command.missing_key", "command.misplaced_key", "command.wrong_type"),
    "command.unknown_step_type",
}

#: With all there is, so that there is something to break everywhere.
WHOLE = """
slug: everything
name: Everything
version: 1.0.0
description: All keys there are.
inputs:
  body: {type: string, minLength: 1, required: true}
  level: {enum: [low, high], default: low}
requires: {secrets: [TOKEN]}
timeout: 30s
retry: {max_attempts: 3, backoff: 2s, max_backoff: 5m}
concurrency: {key: "{{ execution.space }}", max: 4, on_full: reject}
steps:
  - {id: check, type: validate, if: inputs.level == 'high', with: {rules: [{value: "{{ inputs.body }}", max: 3}]}}
  - {id: find, type: fragment.query, timeout: 1s, with: {limit: 3, fields: [title], state: {a: [1, "{{ now }}"]}}}
  - id: each
    type: list.map
    retry: {max_attempts: 2}
    with:
      items: "{{ steps.find.output.items }}"
      as: row
      on_error: continue
      do:
        - id: test
          type: condition
          with:
            if: row.title
            then: [{id: tell, type: notify, with: {channel: inbox, level: warning, message: "{{ row.title }}"}}]
            else: [{id: not, type: respond, with: {value: null}}]
  - {id: keep, type: fragment.create, with: {type: note, tags: ["{{ inputs.level }}"], title: x}}
on_failure:
  - {id: sorry, type: notify, with: {channel: log, message: Sorry.}}
""".replace("{id: not,", "{id: none,")


def document(text: str) -> Any:  # noqa: ANN401 - any JSON value
    root = read(text, SETTINGS).root
    assert root is not None
    return root.value()


DOCUMENTS = [document(WHOLE), *(document(path.read_text("utf-8")) for path in sorted(PACKS.glob("*.yaml")))]

SCALAR = st.sampled_from(
    [
        *(None, True, False, 0, 1, 3, -1, 10**6, 1.5, "", "x", "30s", "0s", "X", "a b", "inbox", "{{ now }}", "{{ n"),
        *("string", "object", "note", "respond", "list.map", "{% if now %}a{% endif %}", "2026-01-01"),
    ]
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["a", "id", "type", "value", "if", "with", "steps", "items", "x-y"]), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(
    [
        *("slug", "steps", "id", "type", "with", "if", "timeout", "retry", "value", "rules", "do", "then", "else"),
        *(
            "as",
            "bogus",
            "on_failure",
            "inputs",
            "required",
            "default",
            "message",
            "limit",
            "tags",
            "$schema",
            "maxLength",
        ),
    ]
)


def containers(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict | list) and value else []
    return [*found, *(deeper for each in inner for deeper in containers(each))]


def broken(whole: Any, chance: random.Random, values: list[Any], keys: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    """A document with a few values put in the place of others, keys added, renamed and taken away."""
    whole = copy.deepcopy(whole)
    for value, key in zip(values, keys, strict=True):
        place = chance.choice(containers(whole))
        if isinstance(place, list):
            place[chance.randrange(len(place))] = value
            continue
        name = chance.choice(list(place))
        kind = chance.randrange(4)
        if kind == 0:
            place[name] = value
        elif kind == 1:
            place[key] = value
        elif kind == 2:
            place[key] = place.pop(name)
        else:
            del place[name]
        if not containers(whole):
            break
    return whole


def codes(value: Any) -> set[str]:  # noqa: ANN401 - any JSON value
    try:
        load(json.dumps(value), REGISTRY, SETTINGS, origin="any")
    except CommandInvalid as invalid:
        return {fault.code for fault in invalid.faults}
    return set()


def test_what_is_broken_here_is_whole() -> None:
    for whole in DOCUMENTS:
        assert codes(whole) == set()
        VALIDATOR.validate(whole)


@EXAMPLES
@given(
    st.sampled_from(DOCUMENTS),
    st.randoms(use_true_random=False),
    st.integers(1, 3).flatmap(
        lambda count: st.tuples(*[st.lists(kind, min_size=count, max_size=count) for kind in (VALUE, KEYS)])
    ),
)
def test_a_command_that_loads_is_valid_and_one_that_is_broken_in_its_structure_is_not(
    whole: Any,  # noqa: ANN401 - any JSON value
    chance: random.Random,
    changes: tuple[list[Any], list[str]],
) -> None:
    changed = broken(whole, chance, *changes)
    found = codes(changed)
    valid = VALIDATOR.is_valid(changed)
    if not found:
        assert valid, list(VALIDATOR.iter_errors(changed))
    if found & STRUCTURAL:
        assert not valid, found
