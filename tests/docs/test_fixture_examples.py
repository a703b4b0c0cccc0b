"""The how-to of testing commands shows a command and its fixtures: they pass as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from dsl.check import load
from dsl.rehearsal.differences import differences
from dsl.rehearsal.fixtures import check_paths, read_fixtures
from dsl.rehearsal.run import rehearse
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/test-a-command.md").read_text(encoding="utf-8")


def test_the_fixtures_on_the_page_pass_as_the_page_says() -> None:
    command_text, fixtures_text = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    settings = DslSettings()
    command = load(command_text, REGISTRY, settings, origin="page")
    fixtures = read_fixtures(fixtures_text.encode(), settings, source="page")
    check_paths(fixtures, command)
    for case in fixtures.cases():
        assert differences(case.expected, rehearse(command, case, REGISTRY, settings)) == ()
        assert f"✓ {command.slug}: {case.name}\n" in PAGE
    assert f"\n{len(fixtures.file.tests)} tests passed\n" in PAGE
