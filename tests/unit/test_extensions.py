"""Step types of installed packages: found, checked, and left out one by one when they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.step_packages import install_example, install_module
from structlog.testing import capture_logs

from dsl.check import load
from dsl.errors import CommandInvalid
from dsl.extensions import discover, find_step_types
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import run_step
from telemetry.events import MEASURES

#: A module with one step type, and what a test changes of it.
MODULE = """
from dsl.step import Effect, Step, StepParams, StepResult

class Params(StepParams):
    pass

class Mine(Step):
    type = "mine.own"
    effect = Effect.NONE
    Params = Params
    {extra}

    def {run}(self, params, context):
        return StepResult("mine")
"""


def broken(site: Path, text: str, target: str = "one:Mine") -> str:
    """Why the only step type that is installed is left out."""
    install_module(site, "one", {"mine.own": target}, text)
    found = find_step_types()
    assert set(found.registry) == set(REGISTRY)
    [one] = found.broken
    assert one.entry_point == f"mine.own = {target}"
    assert one.distribution == "one 0.1"
    assert one.reason in str(one)
    return one.reason


def module(extra: str = "", run: str = "run") -> str:
    return MODULE.format(extra=extra, run=run)


def test_nothing_installed_leaves_the_built_in_ones() -> None:
    found = find_step_types()
    assert dict(found.registry) == dict(REGISTRY)
    assert found.broken == ()
    assert dict(found.measures) == dict(MEASURES)


@pytest.mark.req("C-07", "C-08")
def test_the_example_package_adds_its_step_types_and_measures(site: Path) -> None:
    install_example(site)
    found = find_step_types()
    assert set(found.registry) - set(REGISTRY) == {"acme.greet", "acme.count"}
    assert found.broken == ()
    assert found.measures["acme_tone"] == ("plain", "warm")
    assert found.measures["acme_letters"] is None
    result = run_step(found.registry["acme.greet"], {"name": "Ada", "tone": "warm"})
    assert (result.output, result.measures) == ({"text": "Hello Ada!"}, {"acme_tone": "warm", "acme_letters": 10})
    text = 'slug: hi\ninputs: {name: {}}\nsteps: [{id: a, type: acme.greet, with: {name: "{{ inputs.name }}"}}]'
    assert load(text, found.registry, DslSettings(), origin="test").steps[0].type == "acme.greet"
    with pytest.raises(CommandInvalid):
        load(text, REGISTRY, DslSettings(), origin="test")


def test_declared_tables_are_words_of_a_measure() -> None:
    assert find_step_types(tables=["tasks"]).measures["model"] == ("fragments", "tasks")


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        (module(), "one:Nothing", "AttributeError"),
        (module(), "nowhere:Mine", "ModuleNotFoundError"),
        ("raise RuntimeError('at import')", "one:Mine", "RuntimeError: at import"),
        ("import sys; sys.exit(3)", "one:Mine", "SystemExit"),
        ("def broken(:", "one:Mine", "SyntaxError"),
        ("Mine = 3", "one:Mine", "subclass"),
        ("class Mine: type = 'mine.own'", "one:Mine", "subclass"),
        (module(run="walk"), "one:Mine", "subclass"),
        (module("def __init__(self, needs): pass"), "one:Mine", "TypeError"),
        (module("type = 3"), "one:Mine", "`type` is not a name"),
        (module("type = 'Mine Own'"), "one:Mine", "`type` is not a name"),
        (module(f"type = '{'x' * 65}'"), "one:Mine", "`type` is not a name"),
        (module("type = 'transform'"), "one:Mine", "the name of a built-in step type"),
        (module("type = 'model.delete'"), "one:Mine", "the name of a built-in step type"),
        (module("effect = 'none'"), "one:Mine", "`effect`"),
        (module("effect = Effect.EXTERNAL"), "one:Mine", "`preview`"),
        (module("Params = dict"), "one:Mine", "`Params`"),
        (module("Literals = 3"), "one:Mine", "`Params`"),
        (module("measures = {'Bad Key': None}"), "one:Mine", "'Bad Key'"),
        (module("measures = {'mine': 3}"), "one:Mine", "'mine'"),
        (module("measures = {'mine': ()}"), "one:Mine", "'mine'"),
        (module("measures = {'mine': ('any text a person wrote',)}"), "one:Mine", "'mine'"),
        (module("measures = {'rows': ('many',)}"), "one:Mine", "means something else"),
        (module("measures = 3"), "one:Mine", "AttributeError"),
    ],
)
def test_a_broken_step_type_is_left_out_with_its_reason(site: Path, text: str, target: str, reason: str) -> None:
    assert reason in broken(site, text, target)


def test_two_packages_cannot_have_one_name(site: Path) -> None:
    for name in ("one", "two"):
        install_module(site, name, {"mine.own": f"{name}:Mine"}, module())
    found = find_step_types()
    assert set(found.registry) - set(REGISTRY) == {"mine.own"}
    [left_out] = found.broken
    assert left_out.reason == "`mine.own` is the name of the step type of another package"


def test_a_broken_one_leaves_the_others(site: Path) -> None:
    install_example(site)
    install_module(site, "one", {"mine.own": "one:Mine"}, "raise ImportError('no')")
    found = find_step_types()
    assert {"acme.greet", "acme.count"} <= set(found.registry)
    assert [one.distribution for one in found.broken] == ["one 0.1"]


def test_processes_log_what_is_left_out(site: Path) -> None:
    install_module(site, "one", {"mine.own": "one:Mine"}, "raise ImportError('no')")
    with capture_logs() as lines:
        discover()
    assert [(line["event"], line["reason"]) for line in lines] == [("step_type_left_out", "ImportError: no")]


def test_a_step_type_that_cannot_check_a_file_keeps_no_other_from_being_loaded(site: Path) -> None:
    install_module(site, "one", {"mine.own": "one:Mine"}, module("def wrong(self, given, settings): return 1 / 0"))
    with pytest.raises(CommandInvalid) as caught:
        load("slug: a\nsteps: [{id: a, type: mine.own}]", find_step_types().registry, DslSettings(), origin="test")
    assert "ZeroDivisionError" in caught.value.faults[0].message
