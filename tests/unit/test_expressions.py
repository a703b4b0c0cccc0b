"""Templates and conditions: what they evaluate to, what they refuse, and where they say it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dsl.document import read
from dsl.errors import ExpressionError
from dsl.expressions import Compiler, Constant, Template
from dsl.nodes import MappingNode, ScalarNode
from dsl.settings import DslSettings

COMPILER = Compiler(DslSettings())

NAMES: dict[str, Any] = {
    "inputs": {
        "a": 1,
        "text": "hello World",
        "list": [3, 1, 2],
        "map": {"x": {"y": 1}},
        "none": None,
        "rows": [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}],
        "html": "<p>Hi <b>x</b><!-- <i> --><SCRIPT>no</SCRIPT>é</p> 1 < 2",
        "big": "x" * 100_000,
    },
    "steps": {"parse-it": {"output": {"limit": 5, "empty": [], "title": "T"}}},
    "now": "2026-11-20T18:32:00.000000Z",
}


def evaluate(text: str) -> Any:  # noqa: ANN401 - any native value
    return COMPILER.template(text).evaluate(NAMES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("{{ inputs.a }}", 1),
        ("  {{ inputs.a }}\n", 1),
        ("x{{ inputs.a }}", "x1"),
        ("{{ inputs.a }}{{ inputs.a }}", "11"),
        ("{% if true %}{{ inputs.a }}{% endif %}", "1"),
        ("{{ inputs.list }}", [3, 1, 2]),
        ("{{ inputs.none }}", None),
        ("{{ true }}", True),
        ("{{ inputs.map }}", {"x": {"y": 1}}),
        ("{{ inputs.list | sort | first }}", 1),
        ("{{ inputs.rows | map: 't' }}", ["a", "b"]),
        ("{{ inputs.rows | map: 'zz' }}", [None, None]),
        ("{{ inputs.rows | where: 'n', 2 | first }}", {"n": 2, "t": "b"}),
        ("{{ inputs.map | first }}", ["x", {"y": 1}]),
        ("{{ (1..3) }}", [1, 2, 3]),
        ("{{ empty }}", ""),
        ("{{ steps.parse-it.output.limit | plus: 1 }}", 6),
        ("{{ steps['parse-it'].output.title }}", "T"),
        ("{{ steps.parse-it.output.empty }}", []),
        ("{{ inputs.list[1] }}", 1),
        ("{{ inputs.list[-1] }}", 2),
        ("{{ inputs.list.first }}{{ inputs.list.size }}", "33"),
        ("{{ inputs.a if inputs.none else 'other' }}", "other"),
        ("{{ 'x' if not inputs.none }}", "x"),
        ("{{ inputs.nope | default: 3 }}", 3),
        ("{{ inputs.nope.deeper | default: inputs.neither | default: 'z' }}", "z"),
        ("{% assign q = 2 %}{{ q | times: 3 }}!", "6!"),
        ("{% capture v %}<{{ inputs.a }}>{% endcapture %}{{ v }}{{ v }}", "<1><1>"),
        ("{% for i in inputs.list reversed %}{{ i }}{% unless forloop.last %},{% endunless %}{% endfor %}", "2,1,3"),
        ("{% for i in (1..9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "12"),
        ("{% case inputs.a %}{% when 1, 2 %}low{% else %}high{% endcase %}", "low"),
        ("{% raw %}{{ x }}{% endraw %}y", "{{ x }}y"),
        ("{% comment %}{{ broken {% endcomment %}z", "z"),
        ("{% # a remark %}z", "z"),
        ("a {{- 1 -}} b", "a1b"),
        ("{%- if true -%}  x  {%- endif -%}  y", "xy"),
        ("{% if inputs.nope %}a{% else %}b{% endif %}", "b"),
    ],
)
def test_a_whole_expression_keeps_its_type_and_anything_else_is_text(text: str, value: object) -> None:
    found = evaluate(text)
    assert found == value
    assert type(found) is type(value)


def test_inside_a_text_values_are_written_as_json_and_null_as_nothing() -> None:
    text = "{{ inputs.list }} {{ inputs.map }} {{ inputs.none }} {{ true }} {{ 1.5 }}"
    assert evaluate(text) == '[3,1,2] {"x":{"y":1}}  true 1.5'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ inputs.map | to_json }}", '{"x":{"y":1}}'),
        ("{{ 'é' | to_json }}", '"é"'),
        ("{{ '[1,{\"a\":2}]' | from_json }}", [1, {"a": 2}]),
        ("{{ 'Crème Brûlée! 日本' | slug }}", "creme-brulee-日本"),
        ("{{ inputs.text | regex_match: '^hel+o' }}", True),
        ("{{ inputs.text | regex_match: '^World' }}", False),
        ("{{ inputs.text | regex_replace: '(\\w+) (\\w+)', '\\2 \\1' }}", "World hello"),
        ("{{ inputs.text | regex_replace: '[aeiou]' }}", "hll Wrld"),
        ("{{ now | date: '%Y-%m' }}", "2026-11"),
        ("{{ 'now' | date }}", "2026-11-20"),
        ("{{ 'today' | date: '%-d. %B' }}", "20. November"),
        ("{{ 86400 | date: '%d.%m.%Y %H:%M' }}", "02.01.1970 00:00"),
        ("{{ '2024-02-29' | date: '%A' }}", "Thursday"),
        ("{{ inputs.list | join: '-' }}", "3-1-2"),
        ("{{ inputs.rows | join: ' ' }}", '{"n":1,"t":"a"} {"n":2,"t":"b"}'),
        ("{{ '1,1,2' | split: ',' | uniq }}", ["1", "2"]),
        ("{{ inputs.rows | concat: inputs.rows | uniq: 'n' | size }}", 2),
        ("{{ 'a' | append: true | append: inputs.list }}", "atrue[3,1,2]"),
        ("{{ inputs.html | strip_html }}", "Hi xé 1 < 2"),
        ("{{ inputs.text | replace: 'l', 'L' | truncate: 8 }}", "heLLo..."),
        ("{{ 10 | divided_by: 4 }}", 2),
        ("{{ 10 | divided_by: 4.0 }}", 2.5),
        ("{{ inputs.list | sum }}", 6),
        ("{{ 0 | default: 5 }}", 0),
        ("{{ '' | default: 5 }}", 5),
    ],
)
def test_filters(text: str, value: object) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [
        ("{{ inputs.nope }}", "`inputs.nope` is not there", 4),
        ("x {{ inputs.nope.a.b }}", "`inputs.nope` is not there", 6),
        ("{{ inputs.map.z }}", "`inputs.map.z` is not there", 4),
        ("{{ inputs.list[9] }}", "`inputs.list[9]` is not there", 4),
        ("{{ inputs.nope | plus: 1 }}", "`inputs.nope` is not there", 4),
        ("{{ inputs.a | plus: inputs.nope }}", "`inputs.nope` is not there", 21),
        ("{% for i in inputs.nope %}{% endfor %}", "`inputs.nope` is not there", 13),
        ("{{ today }}", "`today` is not there", 4),
        ("{{ inputs.text | date }}", "date expects an ISO 8601 date", 18),
        ("{{ now | date: '%9999999Y' }}", "date expects a format", 10),
        ("{{ '{' | from_json }}", "not JSON", 10),
        ("{{ '[NaN]' | from_json }}", "NaN is not JSON", 14),
        ("{{ inputs.text | regex_match: '(' }}", "the pattern is not a regular expression", 18),
        ("{{ inputs.text | regex_replace: '(?=x)', '' }}", "not supported", 18),
        ("{{ 1 | divided_by: 0 }}", "can't divide by 0", 8),
        ("{{ inputs.list | truncate: 'x' }}", "truncate", 18),
        ("{% break %}", "`break` stands outside of a loop", 1),
        ("{{ 9223372036854775807 | plus: 1 }}", "larger than 64 bits", 26),
        ("x {{ 1.0 | times: 1e5 }}", "`1e5` is not there", 19),
    ],
)
def test_what_cannot_be_evaluated_says_why_and_where(text: str, says: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text)
    assert says in caught.value.detail
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (1, column)


def test_a_missing_name_brings_the_nearest_one() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate("{{ inputs.txt }}")
    assert caught.value.facts["name"] == "inputs.txt"
    assert caught.value.facts["nearest"] == "text"
    assert caught.value.hint == "Did you mean `text`?"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ }}", "expected a value, found the end"),
        ("{{", "`{{` is never closed"),
        ("a {% if x", "`{%` is never closed"),
        ("{% if x %}", "expected tag endif"),
        ("{% raw %}x", "`raw` is never closed"),
        ("{{ a b }}", "expected the end"),
        ("{{ a | }}", "expected a name"),
        ("{% include 'x' %}", "there is no tag `include`"),
        ("{% render 'x' %}", "there is no tag `render`"),
        ("{% endfi %}", "there is no tag `endfi`"),
        ("{% assign %}", "missing expression"),
        ("{{ a.b | c: d e }}", "expected"),
        ("{{ " + "a" * 5000 + " }}", "longer than 4096"),
        ("{{ " + "a[" * 80 + " }}", "more than 64 brackets"),
        ("{{ 1 if " + "not " * 900 + "a }}", "nested too deeply"),
        ("x" * 70_000, "longer than 65536"),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_compiled(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        COMPILER.template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ (1..1000000000000) }}",
        "{% for i in (1..1000000000000) reversed %}{% endfor %}",
        "{{ (1..1000000000) | reverse }}",
        "{% for i in (1..6000) %}{% endfor %}{% for i in (1..6000) %}{% endfor %}",
        "{% for i in (1..200) %}{% for j in (1..200) %}{% endfor %}{% endfor %}",
        "{{ inputs.big | replace: 'x', inputs.big }}",
        "{% assign x = 'aaaa' %}{% for i in (1..100) %}{% assign x = x | append: x %}{% endfor %}",
        "{% assign x = 10 %}{% for i in (1..100) %}{% assign x = x | times: x %}{% endfor %}",
        "{% assign x = inputs.list %}{% for i in (1..99) %}{% assign x = x | concat: x %}{% endfor %}{{ x | size }}",
        "{% for i in (1..100) %}{{ inputs.big }}{% endfor %}",
        "{% capture x %}{% for i in (1..100) %}{{ inputs.big }}{% endfor %}{% endcapture %}",
        "{% for i in (1..10000) %}{% assign x = inputs.big | split: '' %}{% endfor %}",
        "{% for i in (1..9000) %}" + "{% if i %}{% endif %}" * 3000 + "{% endfor %}",
        "{% for i in (1..1000) %}{{ inputs.big | regex_replace: '(a|x)*y', '' }}{% endfor %}",
        "{% assign x = inputs.big | split: '' | join: inputs.big %}",
    ],
)
def test_no_template_runs_away(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.a == 1", True),
        ("inputs.a > 1 or inputs.text contains 'World'", True),
        ("inputs.nope", False),
        ("inputs.nope.deeper == nil", True),
        ("inputs.none == blank", False),
        ("inputs.list contains 3 and not inputs.none", True),
        ("(inputs.none or inputs.a) and inputs.a == 2", False),
        ("inputs.list.size >= 3", True),
        ("steps.parse-it.output.empty == empty", True),
        ("inputs.text != ''", True),
    ],
)
def test_conditions_are_true_or_false_and_a_missing_name_is_false(text: str, value: bool) -> None:
    assert COMPILER.condition(text).evaluate(NAMES) is value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ inputs.a }}", "without braces"),
        ("inputs.a ==", "expected a value"),
        ("inputs.a inputs.b", "expected the end"),
        ("inputs.text | size > 3", "expected the end"),
        ("", "expected a value"),
        ("(inputs.a", "expected an operator"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        COMPILER.condition(text)


def test_comparing_what_cannot_be_compared_is_an_error_at_run_time() -> None:
    with pytest.raises(ExpressionError, match="do not work with a text and a number"):
        COMPILER.condition("inputs.a > 'x'").evaluate(NAMES)


def test_names_and_filters_are_known_without_evaluating() -> None:
    template = COMPILER.template(
        "{{ a.b['x y'][0][c.d] | f: e.g }}{% for i in q %}{{ i.z }}{{ forloop.index }}{% endfor %}"
        "{% assign r = 1 %}{{ r | g }}{% case s %}{% when t.u %}{% endcase %}{{ h if j else k | m }}"
    )
    assert [str(name) for name in template.names] == [
        "a.b['x y'][0]['…']", "c.d", "e.g", "q", "s", "t.u", "h", "j", "k"
    ]  # fmt: skip
    assert [use.name for use in template.filters] == ["f", "g", "m"]
    assert template.names[1].position.column == 18
    assert COMPILER.condition("inputs.a == steps['b'].output").names[1].segments == ("steps", "b", "output")


def test_a_tree_evaluates_to_new_plain_values_each_time() -> None:
    root = read(
        't: "{{ inputs.list }}"\nl: [1, "x{{ inputs.a }}", {k: "{{ inputs.map }}"}]\n"{{ no }}": key\n', DslSettings()
    )
    assert root.root is not None
    tree = COMPILER.value(root.root)
    before = copy.deepcopy(NAMES)
    first, second = tree.evaluate(NAMES), tree.evaluate(NAMES)
    assert first == {"t": [3, 1, 2], "l": [1, "x1", {"k": {"x": {"y": 1}}}], "{{ no }}": "key"}
    assert first is not second
    assert first["l"] is not second["l"]
    assert before == NAMES
    assert [path for path, _ in tree.templates] == [("t",), ("l", 1), ("l", 2, "k")]
    assert [name.root for name in tree.names] == ["inputs", "inputs", "inputs"]


def test_errors_in_a_file_point_into_the_file() -> None:
    text = "with:\n  title: >-\n    one\n    two {{ inputs.nope }}\n"
    root = read(text, DslSettings()).root
    assert isinstance(root, MappingNode)
    with pytest.raises(ExpressionError) as caught:
        COMPILER.value(root).evaluate(NAMES)
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (4, 12)


def test_every_text_that_is_no_template_is_reported() -> None:
    root = read("a: '{{ }}'\nb: ['{{', ok]\n", DslSettings()).root
    assert root is not None
    places: list[tuple[object, str]] = []
    tree = COMPILER.value(root, lambda path, node, error: places.append((path, f"{node.scalar} {error.detail}")))
    assert places == [
        (("a",), "{{ }} expected a value, found the end"),
        (("b", 0), "{{ `{{` is never closed, expected `}}`"),
    ]
    assert tree.evaluate({}) == {"a": "{{ }}", "b": ["{{", "ok"]}
    with pytest.raises(ExpressionError, match="found the end"):
        COMPILER.value(root)


def test_text_without_markup_is_a_constant() -> None:
    constant = COMPILER.template("no markup { here } %}")
    assert isinstance(constant, Constant)
    assert constant.evaluate({}) == "no markup { here } %}"
    assert isinstance(COMPILER.template(ScalarNode("{{ a }}", 0, 7, "{{ a }}")), Template)


def test_values_nobody_can_keep_are_refused() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    names = {"deep": deep, "wide": ["x" * 1_000_000] * 9, "inf": float("inf")}
    for text in (
        "{{ deep | compact }}",
        "{{ wide | compact }}",
        "{{ wide | to_json }}",
        "{{ inf | abs }}",
        "a{{ deep }}",
    ):
        with pytest.raises(ExpressionError):
            COMPILER.template(text).evaluate(names)
