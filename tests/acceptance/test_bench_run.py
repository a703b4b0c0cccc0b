"""`make bench` measures on servers of its own, and leaves nothing but its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_one_figure_is_measured_and_nothing_stays_behind(open_folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    arguments = ["--quick", "--only", "light_steps_ms_p50", "--results", str(results)]
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(open_folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert "light_steps_ms_p50" in done.stdout
    written = json.loads(results.read_text())
    assert set(written) == {"light_steps_ms_p50"}
    assert set(written["light_steps_ms_p50"]) == {"value", "unit", "reference", "ratio"}
    assert list(open_folder.iterdir()) == []
