from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telemetry.spans import Span
from telemetry.traces import timing


def span(name: str, start: int, end: int | None, *children: Span, kind: str = "step", **facts: object) -> Span:
    return Span(name, kind, name, start, end, children=list(children), **facts)  # type: ignore[arg-type]


def path(*roots: Span) -> list[tuple[str, int, int]]:
    found = timing(roots)
    return [(found.spans[each.place].span.name, each.start_us, each.end_us) for each in found.critical_path]


def test_spans_are_placed_parents_first() -> None:
    found = timing([span("a", 0, 10, span("b", 1, 2, span("c", 1, 2)), span("d", 3, 4)), span("e", 11, 12)])

    assert [(each.span.name, each.parent, each.depth) for each in found.spans] == [
        *(("a", None, 0), ("b", 0, 1), ("c", 1, 2), ("d", 0, 1), ("e", None, 0))
    ]
    assert (found.start_us, found.end_us) == (0, 12)


def test_the_critical_path_goes_on_in_what_ended_last() -> None:
    # b and c run at a time; c ends later, so b could be longer at no cost.
    assert path(span("a", 0, 100, span("b", 10, 50), span("c", 20, 80))) == [
        ("a", 0, 20),
        ("c", 20, 80),
        ("a", 80, 100),
    ]


def test_what_comes_one_after_the_other_is_all_on_it() -> None:
    whole = span("a", 0, 30, span("b", 5, 10), span("c", 12, 30, span("d", 13, 30)))

    assert path(whole) == [("a", 0, 5), ("b", 5, 10), ("a", 10, 12), ("c", 12, 13), ("d", 13, 30)]


def test_an_execution_that_outlives_its_request_is_beside_it() -> None:
    request = span("request", 0, 10, span("execution", 5, 50, kind="execution"), kind="request")

    assert path(request) == [("request", 0, 5), ("execution", 5, 50)]


def test_what_is_open_lasts_as_long_as_anything_is_known() -> None:
    assert path(span("a", 0, None, span("b", 10, 40))) == [("a", 0, 10), ("b", 10, 40)]


def test_changes_and_skipped_steps_take_no_time() -> None:
    whole = span("a", 0, 10, span("made", 4, 4, kind="change", timed=False), span("no", 5, 5, timed=False))

    assert path(whole) == [("a", 0, 10)]


def test_time_of_ones_own_is_what_no_child_took_and_counted_once() -> None:
    first, second = span("b", 10, 50), span("b", 20, 60, outcome="failed")
    sums = {each.type: each for each in timing([span("a", 0, 100, first, second)]).sums}

    assert (sums["a"].total_us, sums["a"].self_us) == (100, 50)
    assert (sums["b"].count, sums["b"].failed, sums["b"].total_us, sums["b"].max_us) == (2, 1, 80, 40)
    assert sums["a"].critical_us + sums["b"].critical_us == 100


@st.composite
def trees(draw: st.DrawFn, low: int = 0, high: int = 1000, depth: int = 3) -> Span:
    start = draw(st.integers(low, high))
    end = draw(st.integers(start, high))
    inner = draw(st.lists(trees(start, end, depth - 1), max_size=3)) if depth else []
    return span("s", start, end, *inner)


@given(st.lists(trees(), min_size=1, max_size=3))
def test_segments_do_not_overlap_are_in_order_and_cover_all_that_somebody_took(roots: list[Span]) -> None:
    found = timing(roots)

    ends = [found.start_us]
    for segment in found.critical_path:
        assert ends[-1] <= segment.start_us < segment.end_us
        inside = found.spans[segment.place].span
        assert inside.end_us is not None
        assert inside.start_us <= segment.start_us
        assert segment.end_us <= inside.end_us
        ends.append(segment.end_us)
    busy = {instant for root in roots for instant in range(root.start_us, root.end_us or 0)}
    on_it = {instant for each in found.critical_path for instant in range(each.start_us, each.end_us)}
    assert on_it == busy
