"""No template runs away, whatever it is and whatever it is given: work and memory are counted, and end it.

How good the counting is, in milliseconds and megabytes, is measured by `python -m benchmarks.templates`; here only what
does not depend on the machine is asserted, and a factor of ten where it does.
"""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import fields
from datetime import timedelta

import pytest
from liquid.ast import Node
from liquid.expression import Expression

from benchmarks.template_cases import ADVERSARIAL, MAX_TEMPLATE, scope
from dsl.document import read
from dsl.errors import ExpressionError, ExpressionLimit
from dsl.expressions import Compiler
from dsl.nodes import MappingNode
from dsl.settings import DslSettings
from dsl.templates.metering import metered

COMPILER = Compiler(DslSettings())

MAX_MEMORY = 20 << 20
MAX_CPU_NS = 10 * 100_000_000

WORK, MEMORY, TURNS = "WEIR_DSL_MAX_TEMPLATE_WORK", "WEIR_DSL_MAX_RENDER_BYTES", "WEIR_DSL_MAX_LOOP_ITERATIONS"


def evaluate(text: str) -> ExpressionError | None:
    """Why it was refused, if it was."""
    try:
        COMPILER.template(text).evaluate(scope())
    except ExpressionError as error:
        return error
    return None


def test_what_is_tried_is_as_long_as_is_promised() -> None:
    assert max(map(len, ADVERSARIAL.values())) <= MAX_TEMPLATE
    assert len(ADVERSARIAL) >= 180


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_template_ends_and_needs_little_memory(name: str) -> None:
    scope()
    tracemalloc.start()
    try:
        started_ns = time.thread_time_ns()
        evaluate(ADVERSARIAL[name])
        used_ns = time.thread_time_ns() - started_ns
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY
    assert used_ns < MAX_CPU_NS


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        *(
            (WORK, name)
            for name in (
                *("a loop with long conditions", "a loop with many words", "a loop with long paths", "comparing lists"),
                *("comparing texts", "comparing long keys", "comparing with blank", "looking in texts", "cases"),
                *("looking in lists", "cases of large values", "a missing name", "a long name that is not there"),
                *("finding", "finding by a large value", "finding by a list", "mapping", "summing", "dates", "cutting"),
                *("long texts to find", "names through many loops", "a pattern with many states", "many patterns"),
                *("a large class", "a large class of any case", "a pattern that is large and matches nothing"),
            )
        ),
        *(
            (MEMORY, name)
            for name in (
                *("a pattern that hangs others", "another pattern that hangs others", "a pattern with many groups"),
                *("unique wide things", "JSON under many names", "wide marks", "a large piece of a text"),
                *("a large piece of a list", "doubling by append", "doubling by capture", "doubling by concat"),
                *("doubling by replace", "doubling without a loop", "a huge capture", "many names"),
            )
        ),
        *((TURNS, name) for name in ("a loop for ever", "a huge range", "everyone backwards", "nested loops")),
    ],
)
def test_what_asks_for_too_much_is_refused_with_the_setting_that_allows_more(setting: str, name: str) -> None:
    error = evaluate(ADVERSARIAL[name])
    assert isinstance(error, ExpressionLimit)
    assert error.code == "expression.limit"
    assert error.facts["setting"] == setting
    assert setting in (error.hint or "")
    assert str(error.facts["expected"]).startswith("at most ")


@pytest.mark.parametrize(
    ("text", "detail", "expected", "place"),
    [
        (
            "{% for a in inputs.few %}\n    {% for b in (1..9999) %}{% endfor %}{% endfor %}",
            "the loops of the template turn more than 10000 times",
            "at most 10000 times",
            (5, 8),
        ),
        (
            "{% assign x = 'aaaa' %}\n    {% for i in (1..30) %}{% assign x = x | append: x %}{% endfor %}",
            "the text is longer than 1048576 characters",
            "at most 1048576 characters",
            (5, 45),
        ),
        (
            "x\n    {% for i in (1..9999) %}{{ inputs.same | slice: 0, 9000 | slug }}{% endfor %}",
            "the template does more than 50 ms of work",
            "at most 50 ms of work",
            (5, 63),
        ),
        (
            "x\n    {% for i in (1..9) %}{% capture x %}{{ inputs.emoji }}{% endcapture %}{{ x }}{% endfor %}",
            "the text is longer than 1048576 characters",
            "at most 1048576 characters",
            (5, 75),
        ),
        (
            "{{ inputs.emoji | slice: 0, 900000\n    | remove_last: 'a' | size }}",
            "the template takes more than 12582912 bytes of memory",
            "at most 12582912 bytes of memory",
            (5, 7),
        ),
        ("{{ (1..10001)\n    | size }}", "the range has more than 10000 numbers", "at most 10000 numbers", (4, 8)),
        (
            "{{ inputs.long\n    | reverse }}{{ 1 }}",
            "the value is larger than 1048576 characters",
            "at most 1048576 characters",
            (4, 5),
        ),
    ],
    ids=["turns", "doubling", "work", "output", "memory", "range", "value"],
)
def test_a_limit_is_passed_at_a_place_in_the_file(
    text: str, detail: str, expected: str, place: tuple[int, int]
) -> None:
    root = read(f"with:\n  # a remark\n  text: |-\n    {text}\n", DslSettings()).root
    assert isinstance(root, MappingNode)
    tree = COMPILER.value(root)
    with pytest.raises(ExpressionLimit) as caught:
        tree.evaluate(scope())
    assert caught.value.detail == detail
    assert caught.value.facts["expected"] == expected
    assert (caught.value.facts["line"], caught.value.facts["column"]) == place


def test_a_template_that_is_too_long_is_refused_with_the_setting_that_allows_more() -> None:
    with pytest.raises(ExpressionLimit, match="longer than 65536 characters") as caught:
        COMPILER.template("{{ a }}" + " " * 65_536)
    assert caught.value.facts["setting"] == "WEIR_DSL_MAX_TEMPLATE_BYTES"
    assert caught.value.facts["expected"] == "at most 65536 characters"


def test_every_limit_of_a_template_is_a_setting_that_exists() -> None:
    names = {f"WEIR_DSL_{field.name.upper()}" for field in fields(DslSettings)}
    assert {WORK, MEMORY, TURNS, "WEIR_DSL_MAX_TEMPLATE_BYTES", "WEIR_DSL_MAX_EXECUTION_OUTPUT_BYTES"} <= names


def test_a_value_that_no_execution_could_keep_names_the_setting_of_executions() -> None:
    with pytest.raises(ExpressionLimit) as caught:
        COMPILER.template("{{ inputs.long | concat: inputs.long | reverse }}").evaluate(scope())
    assert caught.value.facts["setting"] == "WEIR_DSL_MAX_EXECUTION_OUTPUT_BYTES"


@pytest.mark.parametrize(
    "path",
    [
        *("inputs.__class__", "inputs.few.__len__", "inputs.small.__class__.__mro__", "inputs['__globals__']"),
        *("inputs.map.keys", "inputs.few.append", "inputs.small.upper", "inputs.n.real", "inputs.small[0]"),
        *("now.year", "inputs.few['__class__']", "__builtins__", "self", "context.env", "loop"),
    ],
)
def test_attributes_of_python_are_names_that_are_not_there(path: str) -> None:
    error = evaluate(f"x {{{{ {path} }}}}")
    assert error is not None
    assert error.code == "expression.failed"
    assert error.detail.endswith("is not there")
    assert (error.facts["line"], error.facts["column"]) == (1, 6)


@pytest.mark.parametrize(
    "tag",
    [
        *("include 'a.liquid'", "render 'a.liquid'", "import 'os'", "extends 'a'", "layout 'a'", "section 'a'"),
        *("liquid echo 1", "echo 1", "cycle 1, 2", "increment x", "tablerow a in inputs.few", "python", "call f"),
    ],
)
def test_files_and_programs_are_tags_that_are_not_there(tag: str) -> None:
    error = evaluate(f"x\n  {{% {tag} %}}")
    assert error is not None
    assert error.code == "expression.failed"
    assert error.detail == f"there is no tag `{tag.split()[0]}` here"
    assert (error.facts["line"], error.facts["column"]) == (2, 6)
    assert "`assign`" in str(error.facts["expected"]) or "assign" in str(error.facts["expected"])


@pytest.mark.parametrize("name", ["eval", "fetch", "open", "env", "safe", "t", "translate", "read_file", "index"])
def test_files_and_programs_are_filters_that_are_not_there(name: str) -> None:
    assert name not in COMPILER.filters
    error = evaluate(f"{{{{ 'https://example.org' | {name} }}}}")
    assert error is not None
    assert error.detail == f"there is no filter `{name}`"
    assert (error.facts["line"], error.facts["column"]) == (1, 28)


def test_the_budget_is_a_setting() -> None:
    text = "{% for i in (1..3000) %}{{ i }}{% endfor %}"
    assert evaluate(text) is None
    strict = Compiler(DslSettings(max_template_work=timedelta(milliseconds=1)))
    with pytest.raises(ExpressionLimit, match="more than 1 ms of work"):
        strict.template(text).evaluate({})


def test_what_is_refused_is_refused_every_time_at_the_same_work() -> None:
    text = ADVERSARIAL["a pattern with a class"]
    assert len({str(evaluate(text)) for _ in range(3)}) == 1


def test_memory_is_given_back_when_a_name_is_used_again() -> None:
    text = "{% for i in (1..40) %}{% capture x %}{{ inputs.same | slice: 0, 100000 }}{% endcapture %}{% endfor %}"
    assert evaluate(text) is None


def test_what_is_in_a_template_is_known_so_that_all_of_it_is_counted() -> None:
    """A new version of python-liquid may bring nodes and expressions whose cost nobody has thought of."""
    assert {kind.__name__ for kind in _kinds(Node)} == {
        *("AssignNode", "BlockNode", "BreakNode", "CaptureNode", "CaseNode", "CommentNode", "ConditionalBlockNode"),
        *("ContentNode", "ContinueNode", "CycleNode", "DecrementNode", "DocNode", "EchoNode", "ForNode"),
        *("IfChangedNode", "IfNode", "IllegalNode", "IncludeNode", "IncrementNode", "InlineCommentNode", "LiquidNode"),
        *("MultiExpressionBlockNode", "OutputNode", "RenderNode", "TablerowNode", "UnlessNode"),
    }
    assert {kind.__name__ for kind in _kinds(Expression)} == {
        *("Blank", "BooleanExpression", "ContainsExpression", "Continue", "Empty", "EqExpression", "FalseLiteral"),
        *("FilteredExpression", "FloatLiteral", "GeExpression", "GtExpression", "IntegerLiteral", "LeExpression"),
        *("Literal", "LogicalAndExpression", "LogicalNotExpression", "LogicalOrExpression", "LoopExpression"),
        *("LtExpression", "NeExpression", "Nil", "Path", "RangeLiteral", "StringLiteral", "TernaryFilteredExpression"),
        *("TrueLiteral", "_AnyExpression"),
    }
    for kind, counted in metered().items():
        assert issubclass(counted, kind)
        assert vars(counted)["__slots__"] == ()


def _kinds(base: type) -> set[type]:
    """The classes of python-liquid below a class, in what Weir uses of it."""
    below = {kind for direct in base.__subclasses__() for kind in (direct, *_kinds(direct))}
    return {kind for kind in below if kind.__module__.startswith("liquid.") and ".extra" not in kind.__module__}
