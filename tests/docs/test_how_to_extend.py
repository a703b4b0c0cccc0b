"""What the how-tos say of step types and tables of one's own works as it is written."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from fixtures.step_packages import EXAMPLE

from api.settings import load_settings
from dsl.check import load
from dsl.declarations import Table
from dsl.steps import REGISTRY
from dsl.testing import make_context, make_spec, run_step

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def declared(tmp_path: Path) -> tuple[Any, tuple[Table, ...]]:
    """Settings made of the page's weir.toml."""
    [toml] = blocks("declare-tables.md", "toml")
    (tmp_path / "weir.toml").write_text(toml, encoding="utf-8")
    settings = load_settings({}, tmp_path).dsl
    return settings, settings.tables


def test_the_step_type_of_the_page_works_and_passes_its_own_test() -> None:
    code, adding, test = blocks("write-a-step-type.md", "python")
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "page", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    assert run_step(names["Greet"](), {"name": "Ada", "tone": "warm"}).output == {"text": "Hello Ada!"}
    exec(compile(adding, "page", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    visit, params = names["Visit"](), names["VisitParams"](page="home")
    (added,) = visit.run(params, make_context(make_spec("visit", visit.type))).statements
    assert (visit.only_adds(params), added.parameters) == (True, {"page": "home"})
    asserted = test.partition("assert ")[2].strip()
    assert asserted == 'result.output == {"text": "Hello Ada!"}'


def test_the_package_of_the_page_is_that_of_the_tests() -> None:
    [shown] = blocks("write-a-step-type.md", "toml")
    page, package = tomllib.loads(shown), tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    assert page["build-system"] == package["build-system"]
    assert (
        page["project"]["entry-points"]["weir.steps"].items()
        <= package["project"]["entry-points"]["weir.steps"].items()
    )


def test_the_declaration_of_the_page_is_one(tmp_path: Path) -> None:
    _, (tasks,) = declared(tmp_path)
    assert (tasks.title, tasks.key, tasks.max_rows, tasks.deletable) == ("app.tasks", "id", 200, True)


def test_the_steps_of_the_page_fit_the_declaration(tmp_path: Path) -> None:
    settings, _ = declared(tmp_path)
    steps = yaml.safe_load(blocks("declare-tables.md", "yaml")[0])
    text = yaml.safe_dump({"slug": "page", "inputs": {"title": {"type": "string"}}, "steps": steps})
    assert len(load(text, REGISTRY, settings, origin="page").steps) == 4
