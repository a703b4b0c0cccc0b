from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workers.processes import SERVER_ENVIRONMENT, Launch, ServerFailed, run, spawn

LAUNCHER = Path(__file__).parents[2] / "workers" / "launcher.py"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel watches parents on Linux only")


def launch(*argv: str, stop_signal: signal.Signals = signal.SIGTERM) -> Launch:
    return Launch(argv, stop_signal, SERVER_ENVIRONMENT, None, Path("/"))


def launcher(mode: str, parent: int, *argv: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(LAUNCHER), mode, str(parent), str(int(signal.SIGTERM)), "-1", "-1", *argv]


def test_a_server_gets_an_environment_of_its_own_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_DATABASE_URL", "secret")
    process = spawn(launch("/bin/sh", "-c", "env; cat; umask"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        output, _ = process.communicate(timeout=20)

    lines = output.decode().splitlines()
    assert lines[-1] in {"0077", "077"}
    assert "LC_ALL=C" in lines
    assert "secret" not in output.decode()


def test_a_server_hears_its_stop_signal_though_its_parent_ignores_it() -> None:
    """As a shell's background job does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = spawn(
            launch("/bin/sh", "-c", "echo up; exec cat /dev/zero"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == -signal.SIGINT


@on_linux
def test_a_server_whose_parent_died_before_it_began_never_begins() -> None:
    done = subprocess.run(launcher("exec", 1 << 22, "/bin/echo", "started"), capture_output=True, check=False)  # noqa: S603 - ours

    assert (done.returncode, done.stdout) == (0, b"")


def test_a_program_that_cannot_be_executed_is_said_so() -> None:
    done = run("/no/such/program", user=None)

    assert done.returncode == 126
    assert done.stderr == "/no/such/program: No such file or directory\n"


def test_a_program_that_never_ends_is_ended() -> None:
    with pytest.raises(ServerFailed, match=r"/bin/cat was not done after 0\.05 s"):
        run("/bin/cat", "/dev/zero", user=None, timeout_s=0.05)


def test_a_guardian_passes_signals_on_and_the_exit_code_back() -> None:
    script = "trap 'exit 7' TERM; echo up; while read -r line; do :; done"
    command = launcher("guard", os.getpid(), "/bin/sh", "-c", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guardian:  # noqa: S603 - ours
        assert guardian.stdout is not None
        assert guardian.stdout.readline() == b"up\n"
        guardian.terminate()
        assert guardian.wait(20) == 7


def test_a_guardian_stops_its_server_when_its_own_parent_is_gone() -> None:
    script = "trap 'echo stopped; exit 0' TERM; echo up; while :; do read -r line < /dev/null; done"
    command = launcher("guard", 0, "/bin/sh", "-c", script)
    parent_script = (
        "import os, subprocess, sys; command = sys.argv[1:]; command[5] = str(os.getpid())\n"
        "subprocess.Popen(command, stdin=subprocess.DEVNULL); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-c", parent_script, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        assert select.select([parent.stdout], [], [], 20)[0]
        assert parent.stdout.read() == b"stopped\n"


def test_ctrl_c_at_a_terminal_does_not_reach_a_short_program() -> None:
    done = run("/bin/sh", "-c", "cut -d ' ' -f 5 /proc/self/stat; exit 0", user=None)

    assert int(done.stdout) != os.getpgrp()
