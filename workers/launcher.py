"""Becomes a server: gives up root, ties itself to its parent's life, then executes the server's binary.

Run by `workers.processes.spawn` as `python -I -S launcher.py MODE PARENT STOP_SIGNAL UID GID BINARY ARGUMENT...`.
A process of its own does this because the alternative, Python code between fork and exec, may deadlock in a parent that
has threads. Uses the standard library only, and as little of it as starts fast (15 ms).

MODE `exec` (Linux) becomes the server itself; the kernel sends STOP_SIGNAL when the thread that spawned it ends. MODE
`guard` (elsewhere) stays as the server's parent, passes signals on, and stops the server once its own parent is gone:
it asks a few times a second, which also works where forked siblings would have kept a pipe open. UID -1 stays as is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

#: prctl(2): signal this process when its parent dies.
_PR_SET_PDEATHSIG = 1
#: Seconds between two looks of the guard at its parent.
_GUARD_INTERVAL = 0.2
#: What a shell reports for "found, but could not be executed".
_EXIT_CANNOT_EXECUTE = 126
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str]) -> NoReturn:
    """Run the server; returns its exit code in `guard` mode, never returns in `exec` mode."""
    mode, *numbers = arguments[:5]
    parent, stop_signal, uid, gid = (int(number) for number in numbers)
    argv = arguments[5:]
    for number in _PASSED_ON:  # a shell's background job starts with SIGINT ignored, and would stay deaf to it
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    if uid != -1:
        _demote(uid, gid)
    if mode == "guard":
        sys.exit(_guard(argv, parent, stop_signal))
    _die_with_parent(parent, stop_signal)
    _execute(argv)


def _demote(uid: int, gid: int) -> None:
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


def _die_with_parent(parent: int, stop_signal: int) -> None:
    # After the change of user, which clears it; before exec, which keeps it.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel knew that we care
        sys.exit(0)


def _execute(argv: list[str]) -> NoReturn:
    try:
        os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_EXIT_CANNOT_EXECUTE)


def _guard(argv: list[str], parent: int, stop_signal: int) -> int:
    # A signal that comes before we can pass it on waits: it would end us alone, and the server would live on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    server = os.fork()
    if server == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _execute(argv)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(server, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    orphaned = False
    while True:
        done, status = os.waitpid(server, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not orphaned and os.getppid() != parent:
            orphaned = True
            os.kill(server, stop_signal)
        time.sleep(_GUARD_INTERVAL)


if __name__ == "__main__":
    main(sys.argv[1:])
