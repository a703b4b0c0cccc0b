"""The reference of the language says what the language does: its examples run, its lists are whole."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dsl.check import load
from dsl.expressions import Compiler
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.templates.grammar import TAGS, WORDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/language.md").read_text(encoding="utf-8")
COMPILER = Compiler(DslSettings())
SOURCES = (
    *("document.py", "check.py", "inputs.py", "library.py", "faults.py", "checking/*.py", "lint.py"),
    "command_files.py",
    "yaml_syntax.py",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def examples(language: str) -> list[tuple[str, Any]]:
    lines = [line.rpartition(" => ") for block in blocks(language) for line in block.splitlines()]
    return [(text, json.loads(value)) for text, _, value in lines]


SCOPE = json.loads(blocks("json")[0])


def test_there_are_examples() -> None:
    assert len(blocks("yaml")) >= 5
    assert len(examples("liquid")) >= 20
    assert len(examples("condition")) >= 5


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_command_on_the_page_loads(text: str) -> None:
    assert load(text, REGISTRY, DslSettings(), origin="language.md").slug


@pytest.mark.parametrize(("text", "value"), examples("liquid"))
def test_every_template_on_the_page_evaluates_to_what_it_says(text: str, value: object) -> None:
    found = COMPILER.template(text).evaluate(SCOPE)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "value"), examples("condition"))
def test_every_condition_on_the_page_is_what_it_says(text: str, value: object) -> None:
    assert COMPILER.condition(text).evaluate(SCOPE) is value


@pytest.mark.parametrize("name", [*sorted(COMPILER.filters), *TAGS, *sorted(WORDS)])
def test_every_filter_tag_and_word_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{re.escape(name)}[`:]", PAGE)


def test_every_fault_code_is_on_the_page_and_no_other() -> None:
    form = r"(?:file|folder|yaml|command|inputs|library|definition)\.[a-z_0-9]+"
    written = "".join(path.read_text(encoding="utf-8") for name in SOURCES for path in (ROOT / "dsl").glob(name))
    in_code = set(re.findall(rf'"({form})"', written)) - set(REGISTRY) | {"file.unreadable", "folder.unreadable"}
    table = PAGE[PAGE.index("## Faults") :]
    on_page = set(re.findall(rf"`({form})`", table))
    of_the_schema = {"inputs.required", "inputs.enum", "inputs.max_length"}
    assert on_page - of_the_schema == in_code


def test_every_limit_is_a_setting_with_the_default_on_the_page() -> None:
    settings = DslSettings()
    assert (settings.max_file_bytes, settings.max_depth, settings.max_nodes) == (2**20, 32, 20_000)
    assert (settings.max_template_bytes, settings.max_render_bytes, settings.max_loop_iterations) == (
        2**16,
        2**20,
        10_000,
    )
    assert settings.max_template_work == timedelta(milliseconds=50)
    for name in re.findall(r"`WEIR_DSL_(\w+)`", PAGE):
        assert hasattr(settings, name.lower())
