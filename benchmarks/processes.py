"""What a process and all below it take, as Linux accounts for it in /proc (proc_pid_stat(5), proc_pid_smaps(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
#: Places in /proc/PID/stat after the name: the parent; user and system time, own and of children waited for.
_PARENT, _TIMES = 1, slice(11, 15)


def family(root: int) -> list[int]:
    """The process, its children, their children, and so on."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, what several share counted once among all who share it."""
    return sum(_rollup(pid, "Pss") for pid in pids)


def rss_bytes(pid: int) -> int:
    """Memory of one process, everything it maps counted."""
    return _rollup(pid, "Rss")


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process held so far, since it runs its program or `forget_peak`; 0 once it ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def private_bytes(pid: int) -> int:
    """Memory of one process that it shares with no other, and has written to."""
    return _rollup(pid, "Private_Dirty")


def forget_peak(pid: int) -> None:
    """Have the kernel count anew how much memory the process holds at the most (proc_pid_clear_refs(5))."""
    (_PROC / str(pid) / "clear_refs").write_text("5", encoding="ascii")


def cpu_seconds(root: int) -> float:
    """CPU time that a process and all below it have used; what ended meanwhile counts with whoever waited for it."""
    ticks = sum(int(field) for pid in family(root) for field in _stat(pid)[_TIMES])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds() -> float:
    """CPU time that the whole machine has used since it started, over all cores."""
    user, nice, system, _idle, _waiting, *interrupts = (
        (_PROC / "stat").read_text(encoding="ascii").split("\n")[0].split()[1:8]
    )
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def is_python(pid: int) -> bool:
    """Whether it runs a Python interpreter."""
    try:
        return "python" in (_PROC / str(pid) / "exe").readlink().name
    except FileNotFoundError:  # it ended
        return False


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # it ended
        return []
    return text.rpartition(")")[2].split()


def _rollup(pid: int, name: str) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
