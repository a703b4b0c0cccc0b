"""Whatever a template is and whatever it is given, it evaluates or says what is wrong, in little time and memory."""

from __future__ import annotations

import copy
import json
import os
import re
import time
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.template_cases import random_condition, random_template, scope
from dsl.errors import ExpressionError
from dsl.expressions import Compiler
from dsl.settings import DslSettings
from dsl.templates.patterns import Pattern, PatternError

COMPILER = Compiler(DslSettings())
#: `HYPOTHESIS_EXAMPLES=10000` for once.
EXAMPLES = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200" if os.environ.get("CI") else "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

#: What only Python says.
PYTHON = re.compile(r"<class|object at 0x|Traceback|NoneType|__init__|positional|liquid\\.|'(str|int|float|dict|list)'")

MAX_MEMORY = 20 << 20
MAX_CPU_NS = 10 * 100_000_000

SCRAPS = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            " ",
            "-",
            "inputs.a",
            ".b",
            "[0]",
            "[",
            "]",
            "(1..3)",
            "(",
            ")",
            "|",
            "size",
            ": ",
            ",",
        ),
        *("for i in ", "endfor", "if ", "endif", "else", "assign x = ", "capture y", "endcapture", "case ", "when "),
        *("raw", "endraw", "comment", "endcomment", "not ", " and ", "==", "contains", "'", '"', "é", "\n", "break"),
    ]
)
VALUE = st.sampled_from(
    [
        *(
            "inputs.a",
            "inputs.b.b",
            "inputs.b",
            "inputs.nope",
            "inputs.a[0]",
            "inputs.a.size",
            "now",
            "x",
            "'now'",
            "''",
        ),
        *("'a b,c'", "'(a|b)*'", "0", "9", "-1.5", "true", "nil", "empty", "(1..3)", "99999999999999999999"),
    ]
)
FILTER = st.builds(
    lambda name, values: f" | {name}" + (f": {', '.join(values)}" if values else ""),
    st.sampled_from(sorted(COMPILER.filters)),
    st.lists(VALUE, max_size=3),
)
OUTPUT = st.builds(lambda value, uses: f"{{{{ {value}{''.join(uses)} }}}}", VALUE, st.lists(FILTER, max_size=3))
TAGS = st.recursive(
    OUTPUT | st.sampled_from(["text", " ", "{% break %}"]),
    lambda inner: (
        st.builds(lambda value, body: f"{{% for x in {value} %}}{body}{{% endfor %}}", VALUE, inner)
        | st.builds(lambda value, body: f"{{% if {value} %}}{body}{{% else %}}n{{% endif %}}", VALUE, inner)
        | st.builds(lambda value, body: f"{{% assign x = {value} %}}{body}", VALUE, inner)
        | st.builds(lambda value, body: f"{{% case {value} %}}{{% when 9 %}}{body}{{% endcase %}}", VALUE, inner)
        | st.builds(lambda body: f"{{% capture x %}}{body}{{% endcapture %}}{{{{ x }}}}", inner)
        | st.builds("".join, st.lists(inner, max_size=3))
    ),
    max_leaves=4,
)
MARKUP = OUTPUT | TAGS | st.lists(SCRAPS, max_size=14).map("".join)
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


def check_refusal(error: ExpressionError, text: str) -> None:
    """It says in a few words of the language what is wrong, and where."""
    assert error.code in {"expression.failed", "expression.limit"}
    assert 0 < len(error.detail) <= 300
    assert not PYTHON.search(error.detail)
    line, column = error.facts["line"], error.facts["column"]
    assert isinstance(line, int)
    assert isinstance(column, int)
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    assert 1 <= column <= len(lines[line - 1]) + 1
    assert (error.code == "expression.limit") == ("setting" in error.facts)


@EXAMPLES
@given(MARKUP, JSON)
def test_arbitrary_templates_evaluate_or_say_what_is_wrong_and_leave_their_scope_alone(
    text: str,
    value: Any,  # noqa: ANN401 - any JSON value
) -> None:
    names = {"inputs": {"a": value, "b": {"b": [value]}}, "now": "2026-11-20T18:32:00Z"}
    before = copy.deepcopy(names)
    for compiled in (COMPILER.template, COMPILER.condition):
        try:
            json.dumps(compiled(text).evaluate(names), allow_nan=False)
        except ExpressionError as error:
            check_refusal(error, text)
    assert names == before


@EXAMPLES
@given(st.randoms(use_true_random=False))
def test_templates_that_try_to_run_away_end(chance: Random) -> None:
    for compiled, text in (
        (COMPILER.template, random_template(chance)),
        (COMPILER.condition, random_condition(chance)),
    ):
        names = scope()
        started_ns = time.thread_time_ns()
        tracemalloc.start()
        try:
            compiled(text).evaluate(names)
        except ExpressionError as error:
            check_refusal(error, text)
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < MAX_MEMORY
        assert time.thread_time_ns() - started_ns < MAX_CPU_NS


@EXAMPLES
@given(st.lists(SCRAPS, min_size=1, max_size=5), st.lists(SCRAPS, max_size=3).map("".join))
def test_arbitrary_text_over_and_over_is_parsed_or_refused_in_time(unit: list[str], end: str) -> None:
    text = "".join(unit)
    text = text * ((10_000 - len(end)) // len(text)) + end
    for compiled in (COMPILER.template, COMPILER.condition):
        started_ns = time.thread_time_ns()
        try:
            compiled(text)
        except ExpressionError as error:
            check_refusal(error, text)
        assert time.thread_time_ns() - started_ns < MAX_CPU_NS


@EXAMPLES
@given(
    st.lists(st.sampled_from("ab.[]()|*+?\\w\\d^${}1,"), max_size=10).map("".join),
    st.text(alphabet="ab1\n ", max_size=20),
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_arbitrary_patterns_find_what_python_finds_or_are_refused(pattern: str, text: str) -> None:
    try:
        found = Pattern(pattern).search(text, lambda *_: None)
    except PatternError:
        return
    assert found == bool(re.search(pattern, text))
