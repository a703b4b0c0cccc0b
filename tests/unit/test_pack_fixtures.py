"""The fixtures that come along with the packs: every pack has some, and they pass, without any server."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsl.check import load
from dsl.command import Command
from dsl.library import PACKS
from dsl.rehearsal.differences import differences
from dsl.rehearsal.fixtures import Case, Fixtures, check_paths, read_fixtures
from dsl.rehearsal.run import rehearse
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

SETTINGS = DslSettings()
FILES = sorted((PACKS / "tests").glob("*.yaml"))


def fixtures(path: Path) -> Fixtures:
    return read_fixtures(path.read_bytes(), SETTINGS, source=str(path))


def command(path: Path) -> Command:
    file = path.parent / fixtures(path).file.command
    return load(file.read_bytes(), REGISTRY, SETTINGS, origin=str(file))


def cases() -> list[tuple[Path, Case]]:
    return [(path, case) for path in FILES for case in fixtures(path).cases()]


def test_every_pack_has_fixtures_that_name_its_steps_only() -> None:
    assert {path.name for path in FILES} == {path.name for path in PACKS.glob("*.yaml")}
    for path in FILES:
        check_paths(fixtures(path), command(path))


@pytest.mark.parametrize(
    ("path", "case"), [pytest.param(*each, id=f"{each[0].stem}: {each[1].name}") for each in cases()]
)
def test_the_fixtures_of_the_packs_pass(path: Path, case: Case) -> None:
    assert differences(case.expected, rehearse(command(path), case, REGISTRY, SETTINGS)) == ()
