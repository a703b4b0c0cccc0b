"""Importing many notes: shown while it goes on, cut off at any moment and done again, in memory that does not grow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event, Thread

import pytest
from fixtures.installations import Installation, awaited

#: Notes of one folder: enough batches that an import can be met half-way.
NOTES = 3000


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `NOTES` notes."""
    return write_notes(tmp_path_factory.mktemp("notes"), NOTES)


def write_notes(root: Path, count: int) -> Path:
    for number in range(count):
        folder = root / f"{number // 100:02}"
        folder.mkdir(exist_ok=True)
        text = f"---\ntags: [home]\nmood: calm\n---\n# Note {number}\n\n{'some words of it ' * 60}\n"
        (folder / f"{number}.md").write_text(text, encoding="utf-8")
    return root


def in_space(installation: Installation, space: str) -> tuple[int, int]:
    """Fragments of a space, and distinct sources among them."""
    [(rows, sources)] = installation.rows(
        "select count(*), count(distinct source) from fragments"
        " where space_id = (select id from spaces where name = %(space)s)",
        space=space,
    )
    return rows, sources


def kill_client(_installation: Installation, importing: subprocess.Popen[str]) -> None:
    importing.kill()


def kill_api(installation: Installation, _importing: subprocess.Popen[str]) -> None:
    installation.kill("api")


def interrupt(_installation: Installation, importing: subprocess.Popen[str]) -> None:
    importing.send_signal(signal.SIGINT)


@pytest.mark.req("D-01")
@pytest.mark.parametrize(
    ("cut_off", "ends"),
    [
        (kill_client, {-signal.SIGKILL: ""}),
        # Killed between two requests it is not missed: the next one waits for the API that is started instead.
        (kill_api, {0: "", 1: "are in; run it again for the rest.\nweir: nothing answers at "}),
        (interrupt, {130: "are in; run it again for the rest.\n\ninterrupted\n"}),
    ],
    ids=["client killed", "API killed", "Ctrl-C"],
)
def test_an_import_that_was_cut_off_and_done_again_loses_and_doubles_nothing(
    cut_off: Callable[[Installation, subprocess.Popen[str]], None],
    ends: Mapping[int, str],
    notes: Path,
    installation: Installation,
) -> None:
    space = cut_off.__name__.replace("_", "-")
    arguments = ["fragments", "import", str(notes), "--space", space, "--format", "json"]

    with installation.start_weir(*arguments) as importing:
        awaited(lambda: in_space(installation, space)[0])
        cut_off(installation, importing)
        _, errors = importing.communicate(timeout=30)
    installation.wait_healthy()
    before, _ = in_space(installation, space)
    again = json.loads(installation.weir(*arguments).stdout)

    assert ends[importing.returncode] in errors
    assert "Traceback" not in errors
    # What was on its way when the client ended may have come in after the count.
    assert again["unchanged"] >= before
    assert again == {"created": NOTES - again["unchanged"], "updated": 0, "unchanged": again["unchanged"], "faults": []}
    assert in_space(installation, space) == (NOTES, NOTES)


def test_how_far_an_import_is_is_shown_on_a_terminal(notes: Path, installation: Installation) -> None:
    arguments = ["fragments", "import", str(notes), "--space", "shown"]
    terminal, its_end = os.openpty()
    with installation.start_weir(*arguments, stderr=its_end) as importing:
        os.close(its_end)
        shown = "".join(read_terminal(terminal))
        out, _ = importing.communicate(timeout=30)

    steps = [int(done.replace(",", "")) for done in re.findall(rf"([\d,]+) of {NOTES:,}", shown)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] == NOTES
    assert len(set(steps)) > 3
    assert f"3,000 notes in {notes}: 3000 created" in out


def read_terminal(terminal: int) -> Iterator[str]:
    """Until its other end is closed."""
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                seen = screen.read(4096)
            except OSError:  # EIO: Linux says so that nobody writes to it any more
                return
            yield seen.decode()


def test_an_import_to_a_file_shows_no_progress(tmp_path: Path, installation: Installation) -> None:
    ran = installation.weir("fragments", "import", str(write_notes(tmp_path, 10)), "--space", "silent")

    assert ran.returncode == 0
    assert ran.stdout == f"10 notes in {tmp_path}: 10 created, 0 updated, 0 already there\n"
    assert ran.stderr == ""


def test_memory_does_not_grow_with_the_folder(notes: Path, tmp_path: Path, installation: Installation) -> None:
    """Neither the client's nor the API's; both hold one batch at a time."""
    few = write_notes(tmp_path, NOTES // 4)
    import_watched(installation, few, "warm-up")

    client_few, api_few = import_watched(installation, few, "few")
    client_many, api_many = import_watched(installation, notes, "many")

    assert client_many < 1.2 * client_few
    assert api_many < 1.2 * api_few


def import_watched(installation: Installation, folder: Path, space: str) -> tuple[int, int]:
    """Import; the most memory that the client held, and that the API's processes hold afterwards or held, in kB."""
    arguments = ["fragments", "import", str(folder), "--space", space]
    peaks, over = [0], Event()
    with installation.start_weir(*arguments) as importing:
        watching = Thread(target=watch, args=(importing.pid, peaks, over))
        watching.start()
        importing.communicate(timeout=60)
        over.set()
        watching.join()
    assert importing.returncode == 0
    pid = installation.pid_of("api")
    serving = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return max(peaks), sum(peak_kb(int(worker)) for worker in serving)


def watch(pid: int, peaks: list[int], over: Event) -> None:
    while not over.wait(0.005):
        peaks.append(peak_kb(pid))


def peak_kb(pid: int) -> int:
    """The most memory that a process held since it runs its program; 0 when it ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) if found else 0
