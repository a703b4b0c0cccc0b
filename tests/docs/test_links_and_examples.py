"""Every page can be followed: its links lead somewhere, its commands load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from api.settings import SECTIONS
from dsl.check import load
from dsl.document import read
from dsl.reference.step_types import describe
from dsl.schema import command_schema
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import TASKS
from telemetry.settings import settings_of, variable_of

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})

_FENCED = re.compile(r"^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")

#: What examples of step types take for granted: inputs, and steps before them.
_AROUND_EXAMPLES: dict[str, Any] = {
    "slug": "example",
    "inputs": {"body": {}, "email": {}, "id": {}, "n": {"type": "integer"}, "names": {"type": "array"}},
    "steps": [
        {"id": "create", "type": "fragment.create", "with": {"type": "note"}},
        {"id": "open", "type": "fragment.query", "with": {}},
    ],
}


def pages() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages()
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pages()
def test_files_of_the_code_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:api|workers|dsl|telemetry|migrations|tests|benchmarks)/[\w./-]*)`", page.read_text("utf-8")
    )
    assert [path for path in named if "NNNN" not in path and not (ROOT / path).exists()] == []


@pages()
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {variable_of(section.section, spec.name) for section in SECTIONS for spec in settings_of(section)}
    named = re.findall(r"\bWEIR_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8"))
    assert {name for name in named if name.removesuffix("_FILE") not in known} == set()


@pages()
def test_pages_name_no_package_index(page: Path) -> None:
    assert not re.search(r"pypi\.org|pythonhosted|/simple/?\b", page.read_text(encoding="utf-8"))


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (target.partition("#")[0] for target in _LINK.findall(page.read_text(encoding="utf-8")))
        files = [(page.parent / target).resolve() for target in targets if target and "://" not in target]
        waiting.extend(file for file in files if file.is_file())
        waiting.extend(found for file in files if file.is_dir() for found in file.glob("*.md"))
    assert set(PAGES) - seen == set()


def commands() -> list[tuple[Path, str]]:
    """Every command file that is shown whole: a block of YAML with a slug."""
    return [
        (page, block["text"])
        for page in PAGES
        for block in _FENCED.finditer(page.read_text(encoding="utf-8"))
        if block["info"] == "yaml" and re.search(r"^slug:", block["text"], re.MULTILINE)
    ]


def test_the_pages_show_commands() -> None:
    assert {page.name for page, _ in commands()} >= {"README.md", "first-command.md", "language.md"}


@pytest.mark.parametrize(("page", "text"), [pytest.param(*each, id=each[0].name) for each in commands()])
def test_commands_in_pages_load_and_fit_the_published_schema(page: Path, text: str) -> None:
    assert load(text, REGISTRY, DslSettings(), origin=str(page)).steps
    root = read(text, DslSettings()).root
    assert root is not None
    jsonschema_rs.validate(command_schema(REGISTRY, DslSettings()), root.value())


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_example_of_a_step_type_loads(name: str) -> None:
    (step,) = yaml.safe_load(describe(name, REGISTRY[name]).example)
    steps = [each for each in _AROUND_EXAMPLES["steps"] if each["id"] != step["id"]]
    text = yaml.safe_dump(_AROUND_EXAMPLES | {"steps": [*steps, step]})
    assert load(text, REGISTRY, DslSettings(tables=(TASKS,)), origin="example").steps[-1].type == name
