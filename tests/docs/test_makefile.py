"""The Makefile: what a newcomer meets first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from chaos.__main__ import parsed

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # As from a shell, although these tests may run inside `make test`.
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = ["make", *arguments]
    return subprocess.run(  # noqa: S603 - ours
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with nothing of the repository but what `make setup` looks at first."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_make_alone_lists_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    listed = make(ROOT).stdout
    assert [target for target in phony.split() if not re.search(rf"^  make {target} +\S", listed, re.MULTILINE)] == []


def test_an_older_python_is_refused_in_one_sentence(checkout: Path) -> None:
    python = checkout / "python3"
    python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.10.1\nexit 1\n')
    python.chmod(0o755)
    done = make(checkout, "setup", f"PYTHON={python}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.10.1" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_missing_python_is_refused_with_what_to_do(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "make PYTHON=" in done.stderr


def test_chaos_takes_a_length_a_seed_and_a_place_for_its_figures() -> None:
    words = (
        make(ROOT, "-n", "chaos", "SECONDS=5", "SEED=7", "POINTS=9", "REPORT=x.json").stdout.replace("\\\n", "").split()
    )
    given = parsed(words[words.index("chaos") + 1 :])
    assert (given.seconds, given.seed, given.points, given.report) == (5.0, 7, 9, Path("x.json"))

    words = make(ROOT, "-n", "chaos").stdout.replace("\\\n", "").split()
    given = parsed(words[words.index("chaos") + 1 :])
    assert (given.seconds, given.seed, given.points, given.report) == (None, 1, 0, None)


def test_ci_takes_no_input_and_ends_with_the_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    assert commands[:2] == ["set -euo pipefail", "exec </dev/null"]
    assert commands[-1].split()[-1] == "test"
    assert [line.split()[-1] for line in commands if line.startswith("make")] == ["setup", "check", "test"]
