"""Whatever is written, the language answers with a command or with faults."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.check import load
from dsl.checking.input_schema import KEYWORDS
from dsl.document import read
from dsl.errors import CommandInvalid, Fault, InputsInvalid
from dsl.inputs import check_inputs, coerce
from dsl.library import PACKS
from dsl.nodes import Locator, ScalarNode, find
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

SETTINGS = DslSettings()
#: `HYPOTHESIS_EXAMPLES=10000` for once.
EXAMPLES = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200" if os.environ.get("CI") else "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

PACK_TEXTS = tuple(path.read_bytes() for path in sorted(PACKS.glob("*.yaml")))
WORDS = st.sampled_from(
    [
        *(
            b"{{",
            b"}}",
            b"{%",
            b"%}",
            b"- ",
            b": ",
            b"\n",
            b"\n  ",
            b"&a ",
            b"*a",
            b"<<: ",
            b"!!str ",
            b"'",
            b'"',
            b"[",
        ),
        *(
            b"]",
            b"{",
            b"}",
            b"|",
            b">",
            b"#",
            b"\t",
            b"\0",
            b"\xff",
            b"\xc3\xa9",
            b"steps",
            b"with: ",
            b"id: ",
            b"if: ",
        ),
        *(b"inputs.", b"1e999", b"~", b"? ", b"---\n", b"%YAML"),
    ]
)
TEXT = st.text(alphabet=st.characters(categories=("L", "N", "P", "Zs", "So"), exclude_characters="{}%"), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
#: Texts that YAML 1.1, which the writer speaks, and YAML 1.2 agree on.
WRITTEN = TEXT.map(lambda text: f"x{text}")
TREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | WRITTEN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WRITTEN, inner, max_size=3),
    max_leaves=8,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
#: Some of them are JSON Schema; references lead to somewhere, to nowhere and in circles.
SCHEMA: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 1.5, "", "string", "strng", "object", "email", "(", "x y", [], {}),
            *(
                "#",
                "#/properties/a",
                "#/properties/b",
                "#/$defs/a",
                "#a",
                "other.json",
                "#/%zz",
                ["a"],
                ["string", "x"],
            ),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from([*sorted(KEYWORDS), "a", "b"]) | st.sampled_from(["type", "$ref", "properties", "default"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def load_or_faults(data: bytes | str) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        assert load(data, REGISTRY, SETTINGS, origin="any").steps
    except CommandInvalid as invalid:
        faults = invalid.faults or (Fault("", ""),)
    assert len(set(faults)) == len(faults)
    text = data if isinstance(data, str) else data.decode("utf-8-sig", errors="replace")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    for fault in faults:
        assert fault.code
        assert fault.message
        if fault.code == "file.too_many_faults":
            continue
        assert fault.expected
        assert fault.line is not None
        assert fault.column is not None
        assert 0 < fault.line <= len(lines)
        assert 0 < fault.column <= len(lines[fault.line - 1]) + 2, fault


@EXAMPLES
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_command_or_faults(data: bytes) -> None:
    load_or_faults(data)


@EXAMPLES
@given(st.lists(WORDS, max_size=40))
def test_arbitrary_yaml_is_a_command_or_faults(words: list[bytes]) -> None:
    load_or_faults(b"slug: a\nsteps:\n  - " + b"".join(words))


@EXAMPLES
@given(st.text(max_size=200))
def test_arbitrary_text_is_a_command_or_faults(text: str) -> None:
    load_or_faults(text)


@EXAMPLES
@given(
    st.sampled_from(PACK_TEXTS),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1), WORDS | st.just(b"")), max_size=5),
)
def test_mutated_packs_are_a_command_or_faults(pack: bytes, cuts: list[tuple[float, float, bytes]]) -> None:
    for place, length, inserted in cuts:
        start = int(place * len(pack))
        pack = pack[:start] + inserted + pack[start + int(length * len(pack)) :]
    load_or_faults(pack)


@EXAMPLES
@given(st.sampled_from(PACK_TEXTS), st.randoms(use_true_random=False))
def test_packs_with_their_lines_moved_are_a_command_or_faults(pack: bytes, chance: random.Random) -> None:
    lines = pack.splitlines(keepends=True)
    for _ in range(3):
        line = lines.pop(chance.randrange(len(lines)))
        lines.insert(chance.randrange(len(lines) + 1), line * chance.randrange(3))
    load_or_faults(b"".join(lines))


def shuffled(value: Any, chance: random.Random) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@EXAMPLES
@given(TEXT.filter(bool), JSON, st.randoms(use_true_random=False))
def test_the_hash_is_independent_of_layout_comments_and_key_order(
    description: str,
    value: Any,  # noqa: ANN401 - any JSON value
    chance: random.Random,
) -> None:
    document = {
        "slug": "a",
        "description": description,
        "steps": [{"id": "s", "type": "respond", "with": {"value": value}, "timeout": "3s"}],
    }
    texts = [
        json.dumps(document, ensure_ascii=False),
        "# a remark\n" + json.dumps(shuffled(document, chance), ensure_ascii=False, indent=chance.randrange(1, 5)),
    ]
    commands = [load(text, REGISTRY, SETTINGS, origin="any") for text in texts]
    assert commands[0].definition_hash == commands[1].definition_hash
    assert commands[0].document == commands[1].document == document


@EXAMPLES
@given(TREE)
def test_what_a_yaml_writer_writes_is_read_as_it_was_meant(value: Any) -> None:  # noqa: ANN401 - any JSON value
    text = yaml.safe_dump({"value": value}, allow_unicode=True, width=20)
    document = read(text, SETTINGS)
    assert document.faults == ()
    assert document.root is not None
    assert document.root.value() == {"value": value}


@EXAMPLES
@given(st.text(alphabet="ab \n'\"\\é#:-", max_size=40), st.sampled_from(["'", '"', "|", ">", None]))
def test_every_character_of_a_text_is_found_in_the_file(value: str, style: str | None) -> None:
    text = yaml.dump({"k": [value + "Z"]}, default_style=style, allow_unicode=True, width=15).replace("!!str ", "")
    root = read(text, SETTINGS).root
    if root is None:
        return  # a writer's quirk that the reader refuses
    node = find(root, ("k", 0))
    if isinstance(node, ScalarNode) and isinstance(node.scalar, str):
        position = Locator(node)(node.scalar.index("Z"))
        assert text.split("\n")[position.line - 1][position.column - 1] == "Z"


@EXAMPLES
@given(ANYTHING)
def test_arbitrary_inputs_are_taken_or_faulty(value: Any) -> None:  # noqa: ANN401 - any value
    text = (
        "slug: a\ninputs: {a: {type: string, format: email}, b: {type: array, items: {type: integer}}, c: {}}\n"
        "steps: [{id: s, type: respond, with: {value: 1}}]\n"
    )
    command = load(text, REGISTRY, SETTINGS, origin="any")
    for given_inputs in ({"a": value}, {"b": value}, {"c": value}, value):
        if isinstance(given_inputs, dict):
            with suppress(InputsInvalid):
                json.dumps(check_inputs(command, given_inputs), allow_nan=False).encode()


@EXAMPLES
@given(st.dictionaries(st.sampled_from(["a", "b", "type", "required", "$schema", "a b"]), SCHEMA, max_size=3), ANYTHING)
def test_arbitrary_inputs_are_a_schema_that_checks_or_faults(inputs: Any, value: Any) -> None:  # noqa: ANN401 - any
    text = json.dumps({"slug": "a", "inputs": inputs, "steps": [{"id": "s", "type": "respond", "with": {"value": 1}}]})
    load_or_faults(text)
    with suppress(CommandInvalid, InputsInvalid):
        check_inputs(load(text, REGISTRY, SETTINGS, origin="any"), {"a": value})


@EXAMPLES
@given(st.text(max_size=20), st.sampled_from(["integer", "number", "boolean", "array", "object", "string", "null"]))
def test_coercing_never_fails(text: str, declared: str) -> None:
    coerced = coerce({"type": "object", "properties": {"a": {"type": declared}}}, {"a": text})
    json.dumps(coerced, allow_nan=False)
