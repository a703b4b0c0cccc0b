"""Patterns match what Python's own would, in linear time."""

from __future__ import annotations

import re
import tracemalloc

import pytest

from dsl.templates.patterns import MAX_PATTERN, Pattern, PatternError


def free(steps: int, size: int = 0) -> None:
    """No budget, and no limit."""


@pytest.mark.parametrize(
    "pattern",
    [
        r"a",
        r"^\s+",
        r"\s+$",
        r"(\w+) (\w+)",
        r"\d{2,3}",
        r"\d{2,3}?",
        r"(?:ab|a)(c|bcd)(d*)",
        r"[^a-c\d]+",
        r"(?i)HELLO|w.rld",
        r"(?s)b.c",
        r"(?m)^\w",
        r"\bw\w*\b",
        r"\B.",
        r"colou?r",
        r"(a|b)*?c",
        r"\[([^\]]*)\]\(([^)]*)\)",
        r"",
        r"\A.|.\Z",
        r"(?P<name>l+)",
        r"é|日",
    ],
)
def test_what_matches_is_what_python_matches(pattern: str) -> None:
    text = "hello World 12 345\nabcd ab.c b\nc colour [a b](http://x) [no] é日"
    expected = re.sub(pattern, lambda match: f"<{match.group()}>", text)
    assert Pattern(pattern).replace(text, r"<\0>", free, free) == expected
    assert Pattern(pattern).search(text, free) == bool(re.search(pattern, text))


def test_a_replacement_names_groups_by_number() -> None:
    assert Pattern(r"(\w+)@(\w+)").replace("a@b c@d", r"\2 at \1 \\ \n", free, free) == r"b at a \ \n d at c \ \n"
    assert Pattern(r"(a)|(b)").replace("ab", r"[\1\2]", free, free) == "[a][b]"
    with pytest.raises(PatternError, match="no group 2"):
        Pattern("(a)").replace("a", r"\2", free, free)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 3000 + "b"),
        (r"(a|a)*$", "a" * 3000 + "b"),
        (r"(.*)*x", "a" * 3000),
        (r".*.*.*.*x", "a" * 3000),
        (r"(a?){30}a{30}", "a" * 30),
        (r"(\w+\s?)*$", "word " * 600 + "!"),
        (r"x[^y]*y|z", "xz" * 1500),
    ],
)
def test_patterns_that_make_others_hang_take_steps_linear_in_pattern_times_text(pattern: str, text: str) -> None:
    steps = 0

    def count(taken: int, _: int) -> None:
        nonlocal steps
        steps += taken

    compiled = Pattern(pattern)
    compiled.search(text, count)
    compiled.replace(text, "", count, free)
    assert steps < 4 * len(compiled._program) * (len(text) + 1)


def test_whoever_counts_the_steps_can_stop_the_matching() -> None:
    class Enough(Exception):
        pass

    def count(taken: int, _: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        Pattern("(a|b)*c").search("ab" * 100_000, count)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "not a regular expression"),
        ("a{3,2}", "not a regular expression"),
        (r"(a)\1", "groupref"),
        ("(?=a)", "assert"),
        ("(?<!a)b", "assert not"),
        ("a++", "possessive repeat"),
        ("(?>a)", "atomic group"),
        ("a" * (MAX_PATTERN + 1), "longer than"),
        ("(a{500}){500}", "too large"),
        ("a{4294967296}", "not a regular expression"),
    ],
)
def test_what_is_no_pattern_or_not_supported_is_refused_with_a_reason(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", [r"(?:){99999999}", r"(?:(?:){999999}){999999}"])
def test_nothing_however_often_is_nothing(pattern: str) -> None:
    assert Pattern(pattern).size < 10
    assert Pattern(pattern).search("a", free)


def test_only_groups_that_a_replacement_can_name_are_remembered() -> None:
    pattern = Pattern("()" * 200 + "(a)")
    assert pattern.groups == 10
    assert pattern.size == 20  # two for each group, one for the letter, one to end
    assert Pattern("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)").replace("abcdefghij", r"\9\8\1", free, free) == "iha"


@pytest.mark.parametrize("flags", ["", "(?i)"])
def test_a_class_matches_as_fast_however_much_it_holds_and_remembers_little(flags: str) -> None:
    letters = "".join(chr(0x100 + 2 * index) for index in range(400))
    text = "".join(map(chr, range(0x3400, 0x9FFF)))
    pattern = Pattern(f"{flags}[{letters}a-fx-zc-k]")
    assert not pattern.search(text, free)
    assert pattern.search(text + "d", free)
    assert pattern.search(text + letters[-1], free)
    assert max(len(step.argument) for step in pattern._program if isinstance(step.argument, dict)) <= 500


def test_what_matching_takes_in_memory_is_told() -> None:
    most = 0

    def count(_: int, size: int) -> None:
        nonlocal most
        most = max(most, size)

    text = "a" * 20_000
    tracemalloc.start()
    try:
        Pattern("()()()()()()()()(?:(a))*b").search(text, count)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / 2 < most


def test_whoever_checks_the_length_of_the_result_can_stop_it() -> None:
    class Enough(Exception):
        pass

    def check(length: int) -> None:
        if length > 100:
            raise Enough

    with pytest.raises(Enough):
        Pattern("a").replace("a" * 20, "x" * 10, free, check)
