"""No template runs away, whatever it is and whatever it is given: work and memory are counted, and end it.

How good the counting is, in milliseconds and megabytes, is measured by `python -m benchmarks.templates`; here only what
does not depend on the machine is asserted, and a factor of ten where it does.
"""

from __future__ import annotations

import time
import tracemalloc
from datetime import timedelta

import pytest

from benchmarks.template_cases import ADVERSARIAL, MAX_TEMPLATE, scope
from dsl.errors import ExpressionError
from dsl.expressions import Compiler
from dsl.settings import DslSettings

COMPILER = Compiler(DslSettings())

MAX_MEMORY = 20 << 20
MAX_CPU_NS = 10 * 100_000_000

#: What must be refused because it is too much work; it would go on for seconds or years.
ENDLESS = [
    *("a loop with long conditions", "a loop with many words", "a loop with long paths", "comparing lists"),
    *("comparing texts", "looking in texts", "looking in lists", "cases", "cases of large values", "a missing name"),
    *("finding", "finding by a large value", "finding by a list", "mapping", "summing", "dates", "cutting"),
    *("a pattern that hangs others", "another pattern that hangs others", "a pattern with many groups"),
    *("a pattern with many states", "unique things", "many patterns"),
]


def evaluate(text: str) -> str:
    """Why it was refused; empty when it was not."""
    try:
        COMPILER.template(text).evaluate(scope())
    except ExpressionError as error:
        return error.detail
    return ""


def test_what_is_tried_is_as_long_as_is_promised() -> None:
    assert max(map(len, ADVERSARIAL.values())) <= MAX_TEMPLATE
    assert len(ADVERSARIAL) >= 150


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_template_ends_and_needs_little_memory(name: str) -> None:
    scope()
    tracemalloc.start()
    try:
        evaluate(ADVERSARIAL[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY


@pytest.mark.parametrize("name", ENDLESS)
def test_work_without_end_is_ended_by_counting_it(name: str) -> None:
    started_ns = time.process_time_ns()
    assert evaluate(ADVERSARIAL[name]) == "the template does too much work"
    assert time.process_time_ns() - started_ns < MAX_CPU_NS


def test_the_budget_is_a_setting() -> None:
    text = "{% for i in (1..3000) %}{{ i }}{% endfor %}"
    assert evaluate(text) == ""
    strict = Compiler(DslSettings(max_template_work=timedelta(milliseconds=1)))
    with pytest.raises(ExpressionError, match="too much work"):
        strict.template(text).evaluate({})
