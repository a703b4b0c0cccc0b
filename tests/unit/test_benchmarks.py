"""The harness of `make bench` keeps its promises about names and shapes; no timing is ever asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS, main
from benchmarks.figures import FIGURES, NAMES, Measured, document, table, write
from benchmarks.peers import figures as peers
from benchmarks.query_results import Answered, Hour, Results, Times, read_before
from benchmarks.query_results import table as answers_table
from benchmarks.query_results import write as write_answers
from benchmarks.questions import Question
from benchmarks.rounds import interleave, percentile

#: What the project promises to measure.
PROMISED = {
    *("record_us_p50", "record_us_cpu", "step_overhead_us_p50", "command_overhead_us_p50", "submit_overhead_us_p50"),
    *("memory_per_execution_bytes", "sink_events_per_s", "sink_share_of_copy", "executions_per_s"),
    *("idle_latency_ms_p50", "bytes_per_event", "idle_pss_mb", "idle_cpu_percent"),
    *("flat_execution", "flat_page", "flat_tick", "lane_latency_ms_p50"),
}


def test_every_promised_figure_is_measured() -> None:
    assert set(NAMES) >= PROMISED
    assert len(set(NAMES)) == len(NAMES)


def test_every_figure_is_measured_by_one_group() -> None:
    measured = list(chain.from_iterable(group.names for group in GROUPS))
    assert sorted(measured) == sorted(NAMES)


def test_every_figure_has_a_target_and_says_what_it_is() -> None:
    for figure in FIGURES:
        assert (figure.at_most is None) != (figure.at_least is None)
        assert figure.target
        assert figure.measured
        assert figure.reference


def test_results_have_value_unit_reference_and_ratio(tmp_path: Path) -> None:
    results = {"record_us_p50": Measured(1.5, 6.0), "executions_per_s": Measured(900.0, 1800.0)}
    write(results, tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == document(results)
    assert written == {
        "record_us_p50": {"value": 1.5, "unit": "us", "reference": 6.0, "ratio": 0.25},
        "executions_per_s": {"value": 900.0, "unit": "1/s", "reference": 1800.0, "ratio": 0.5},
    }


def test_the_table_says_which_targets_are_met() -> None:
    results = {"idle_pss_mb": Measured(401.0, 500.0), "executions_per_s": Measured(800.0, 1800.0)}
    heading, *lines = table(results).splitlines()
    assert heading.split()[:2] == ["figure", "value"]
    assert [line.split()[0] for line in lines] == ["executions_per_s", "idle_pss_mb"]
    assert " met " in lines[0]
    assert " MISSED " in lines[1]


def test_an_unknown_figure_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--only", "record_us_p5"])
    assert exit_.value.code == 2
    assert "did you mean record_us_p50?" in capsys.readouterr().err


def test_rounds_alternate_their_order() -> None:
    order: list[str] = []

    def measurement(name: str) -> Callable[[], int]:
        def measure() -> int:
            order.append(name)
            return len(order)

        return measure

    results = interleave({name: measurement(name) for name in "ab"}, 3)
    assert "".join(order) == "abbaab"
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_percentiles_interpolate() -> None:
    assert percentile([1, 2, 3, 4], 50) == 2.5
    assert percentile(list(range(101)), 95) == 95


def compared() -> list[peers.Comparison]:
    return [
        peers.Comparison("light_per_s", "1/s", {"Weir": 800.0, "DBOS": 100.0, "bare": 1600.0}),
        peers.Comparison("idle_ms_p50", "ms", {"Weir": 10.0, "DBOS": 40.0}, more_is_better=False),
    ]


def test_a_comparison_says_how_many_times_better_weir_is() -> None:
    rates, times = compared()
    assert (rates.ratio("DBOS"), rates.ratio("bare"), times.ratio("DBOS")) == (8.0, 0.5, 4.0)


def test_the_comparison_has_a_line_for_each_who_did_it() -> None:
    _, *lines = peers.table(compared()).splitlines()
    assert [line.split()[-2:] for line in lines] == [
        *(["800", "1/s"], ["8", "x"], ["0.5", "x"]),
        *(["10", "ms"], ["4", "x"]),
    ]


def test_what_is_compared_is_written_with_versions_and_ratios(tmp_path: Path) -> None:
    peers.write(compared(), {"DBOS": "1.2"}, tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["versions"] == {"DBOS": "1.2"}
    assert written["figures"]["light_per_s"]["ratios"] == {"DBOS": 8.0, "bare": 0.5}
    assert written["figures"]["idle_ms_p50"]["values"] == {"Weir": 10.0, "DBOS": 40.0}


def question(name: str, limit_ms: float | None = None) -> Question:
    return Question(name, str, None, limit_ms, 50)


@pytest.mark.req("S-15")
def test_answers_are_held_against_limits_of_time_and_memory(tmp_path: Path) -> None:
    fast, slow, late = Times(10, 20), Times(60, 70), Times(60, 900)
    answers = (
        Answered(question("good", 500), fast, fast, fast, 1 << 20),
        Answered(question("slow", 500), None, slow, fast, 0),
        Answered(question("late", 500), fast, late, fast, 0),
        Answered(question("large"), fast, fast, fast, 6 << 20),
    )
    assert [each.verdict for each in answers] == [
        "fine",
        "over the goal",
        "OVER THE LIMIT",
        "TOO MUCH MEMORY",
    ]
    assert [each.holds_limits for each in answers] == [True, True, False, False]
    results = [Results(1000, 14, answers[:2], Hour(4320, 20.0, growth << 20, 0)) for growth in (15, 16)]
    assert [each.holds_limits for each in results] == [True, False]

    file = tmp_path / "query-results.json"
    assert read_before(file, results[0]) == {}
    write_answers(results[0], file)
    before = read_before(file, results[1])
    assert before["slow"]["cold_p50_ms"] == 60
    assert read_before(file, replace(results[0], events=2000)) == {}
    lines = answers_table(results[1], before).splitlines()
    assert lines[2].split()[:4] == ["slow", "60", "70", "60"]
    assert lines[-1].endswith(
        "16.0 MB more than at first, of 15 allowed, and had at the most 0.0 MB more meanwhile: TOO MUCH MEMORY"
    )
