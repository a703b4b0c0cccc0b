"""`requirements.lock`: everything hashed, nothing addressed, nothing missing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def requirements() -> list[str]:
    """The entries of the lock: one requirement with its hashes each, continued lines joined."""
    lines = re.sub(r"#.*", "", LOCK.replace("\\\n", " ")).splitlines()
    return [line.strip() for line in lines if line.strip()]


def name_of(requirement: str) -> str:
    """The normalised name (PEP 503) of a requirement."""
    match = _NAME.match(requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def direct() -> Iterator[str]:
    """Everything that pyproject.toml itself asks for."""
    yield from PROJECT["project"]["dependencies"]
    yield from PROJECT["build-system"]["requires"]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        yield from extra
    for group in PROJECT["dependency-groups"].values():
        yield from (entry for entry in group if isinstance(entry, str))


def test_every_requirement_is_an_exact_version_with_hashes() -> None:
    entries = requirements()
    assert len(entries) > 50
    assert [entry for entry in entries if not re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)] == []


def test_the_lock_holds_no_address() -> None:
    assert re.findall(r"https?:|file:|^\s*-(?!-hash)\S*", LOCK, re.MULTILINE) == []


def test_every_direct_dependency_is_locked() -> None:
    assert {name_of(each) for each in direct()} - {name_of(entry) for entry in requirements()} == set()
