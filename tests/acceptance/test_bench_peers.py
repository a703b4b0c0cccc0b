"""`make bench-peers` installs what it compares with once, apart, and says so when it cannot."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks.peers import installing
from benchmarks.servers import CHECKOUT, BenchmarkFailed


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither uv nor pip may ask anybody, or finds anything kept; where the environment would be."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    environment = tmp_path / "peers"
    monkeypatch.setattr(installing, "ENVIRONMENT", environment)
    return environment


def test_what_cannot_be_installed_is_refused_with_what_to_do_and_leaves_nothing(unreachable: Path) -> None:
    with pytest.raises(BenchmarkFailed, match=r"pip has to reach what benchmarks/peers/requirements\.txt names"):
        installing.installed_python()
    assert not unreachable.exists()


def test_what_is_installed_is_used_without_asking_anybody(unreachable: Path) -> None:
    python = unreachable / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (unreachable / ".installed").write_text(hashlib.sha256(installing.REQUIREMENTS.read_bytes()).hexdigest())

    assert installing.installed_python() == python


def test_an_installation_of_other_versions_is_made_anew(unreachable: Path) -> None:
    (unreachable / "bin").mkdir(parents=True)
    (unreachable / "bin" / "python").touch()
    (unreachable / ".installed").write_text("of something else")

    with pytest.raises(BenchmarkFailed):
        installing.installed_python()


def test_the_peers_are_pinned_by_hash_and_are_no_part_of_weirs_own_lock() -> None:
    pinned = installing.REQUIREMENTS.read_text(encoding="utf-8")
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    for peer in ("dbos==", "celery==", "opentelemetry-sdk=="):
        assert peer in pinned
        assert peer not in lock
    assert "--hash=sha256:" in pinned
    assert "://" not in pinned
    assert ".venv-peers/" in (CHECKOUT / ".gitignore").read_text(encoding="utf-8").splitlines()
