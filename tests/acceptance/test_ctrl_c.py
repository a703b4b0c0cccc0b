"""Ctrl-C at any moment: exit code 130, no traceback, nothing left running, and the next start works."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.installations import Installation, awaited, make_installation, press_ctrl_c

from workers.stack.lock import find_holder

#: As a shell sees it; before there is anything to tidy up, the signal itself ends the process.
INTERRUPTED = {130, -signal.SIGINT}

#: What Python says that is interrupted before it runs anything of ours.
NOT_BEGUN = "Fatal Python error: init_import_site"


@pytest.fixture(scope="module")
def stopped() -> Iterator[Installation]:
    """A home whose stack each test starts and interrupts."""
    with make_installation() as installation:
        yield installation


def ended_quietly(typed: subprocess.Popen[str], home: Path) -> str:
    out, err = typed.communicate(timeout=60)
    if typed.returncode == 1 and err.startswith(NOT_BEGUN):
        err = ""
    else:
        assert typed.returncode in INTERRUPTED, err
    assert "Traceback" not in out + err
    assert "nobody foresaw" not in out + err
    assert find_holder(home / "run") is None
    assert processes_in(home) == []
    return err


def processes_in(home: Path) -> list[str]:
    """Command lines of processes that a home's stack runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
            about = arguments + (folder / "environ").read_bytes()
        except OSError:  # gone, or not ours
            continue
        if os.fsencode(home) in about and int(folder.name) != os.getpid():
            found.append(arguments.replace(b"\0", b" ").decode())
    return found


@pytest.mark.req("D-03")
@pytest.mark.parametrize(
    "moment",
    ["stack_starting", "process_started name=valkey", "migrations_applied", "process_started name=sink", "Weir is up"],
)
def test_weir_up_is_interrupted(moment: str, stopped: Installation) -> None:
    with stopped.start_weir("up", "--port", "0") as typed:
        assert typed.stdout is not None
        for line in typed.stdout:
            if moment in " ".join(line.split()):
                break
        press_ctrl_c(typed)
        ended_quietly(typed, stopped.home)


@pytest.mark.parametrize("moment", ["begun", "locked", "published"])
def test_weir_up_in_the_background_is_interrupted(moment: str, stopped: Installation) -> None:
    run = stopped.home / "run"
    met = {
        "begun": lambda: True,
        "locked": lambda: find_holder(run) is not None,
        "published": lambda: (run / "status.json").exists(),
    }
    with stopped.start_weir("up", "--detach", "--port", "0") as typed:
        awaited(met[moment])
        press_ctrl_c(typed)
        ended_quietly(typed, stopped.home)


@pytest.mark.req("D-03")
def test_after_all_that_the_next_start_works(stopped: Installation) -> None:
    stopped.up()

    assert stopped.run("todo.add", {"body": "still there"})["state"] == "succeeded"

    stopped.down()


def test_weir_run_is_interrupted_and_the_execution_goes_on(installation: Installation) -> None:
    with installation.paused("worker"), installation.start_weir("run", "todo.add", "-i", "body=goes on") as typed:
        [(execution_id,)] = awaited(
            lambda: installation.rows("select id from command_executions where inputs ->> 'body' = 'goes on'")
        )
        awaited(lambda: _catches_interrupt(typed.pid))
        press_ctrl_c(typed)
        _, err = typed.communicate(timeout=30)

    assert typed.returncode == 130
    assert f"It goes on running: weir executions show {execution_id}" in err
    assert "Traceback" not in err
    assert installation.ended(str(execution_id))["state"] == "succeeded"


def _catches_interrupt(pid: int) -> bool:
    """Whether it follows the execution by now: before, nothing has to be said."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def test_weir_demo_is_interrupted_and_leaves_nothing(open_folder: Path, empty_installation: Installation) -> None:
    with empty_installation.start_weir("demo", settings={"TMPDIR": str(open_folder)}) as typed:
        assert typed.stdout is not None
        for line in typed.stdout:
            if "The stack answers" in line:
                break
        press_ctrl_c(typed)
        ended_quietly(typed, open_folder)

    assert list(open_folder.iterdir()) == []
