"""A short run of the chaos harness: everything is killed, stopped and cut off, and nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.harness import Harness, mixed
from fixtures.folders import make_open_folder
from fixtures.stacks import ROOT

#: Seconds that things go wrong.
SHORT = 20.0


@pytest.mark.timeout(900)
@pytest.mark.req("D-01", "D-04", "S-13", "C-11", "C-13", "S-02")
def test_whatever_is_killed_stopped_or_cut_off_nothing_is_lost_and_nothing_done_twice() -> None:
    with make_open_folder() as root:
        report = Harness(mixed(seed=11, seconds=SHORT), root, print).carry_out()

    assert report.differences == [], report.diff()
    assert report.faults
    assert report.mutations == report.effects > 0
    assert sum(report.events.values()) > 0
    again, set_back, _ = report.redelivered
    assert min(again, set_back) > 0


def processes_of(folder: Path) -> list[str]:
    """Processes whose environment or working folder names it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes() + bytes((entry / "cwd").readlink())
        except OSError:  # it has ended
            continue
        found.extend([entry.name] if bytes(folder) in words else [])
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing_behind(number: signal.Signals) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "chaos", "--seconds", "300", "--seed", "13"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().rpartition(" ")[2].strip())
        assert "0 faults" in process.stdout.readline()
        assert processes_of(folder)

        process.send_signal(number)
        assert "everything was stopped" in process.stdout.read()

    assert process.returncode == 130
    assert processes_of(folder) == []
    assert not folder.exists()
