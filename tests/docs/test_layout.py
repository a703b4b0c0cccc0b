"""The top level of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
HOOKS: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


@pytest.mark.req("D-02")
def test_the_top_level_holds_what_people_look_for_there() -> None:
    folders = {"api", "workers", "dsl", "telemetry", "migrations", "tests", "docs", "benchmarks"}
    files = {"pyproject.toml", "requirements.lock", "Dockerfile", "docker-compose.yml", "Makefile", "LICENSE"}
    pages = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert {name for name in folders if not (ROOT / name).is_dir()} == set()
    assert {name for name in files | pages if not (ROOT / name).is_file()} == set()


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme


def test_hooks_run_the_installed_tools_as_make_check_does() -> None:
    hooks = [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {repository["repo"] for repository in HOOKS["repos"]} == {"local"}
    (typed,) = (line.removeprefix("TYPED := ") for line in MAKEFILE.splitlines() if line.startswith("TYPED := "))
    (mypy,) = (hook["entry"] for hook in hooks if hook["id"] == "mypy")
    assert mypy == f".venv/bin/mypy {typed}"
