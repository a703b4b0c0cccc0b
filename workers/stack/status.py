"""`run/status.json`: what runs and where, for `weir status` and for every command that talks to the local stack."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.home import write_private
from workers.stack.lock import find_holder

# In the place for it of a URL, and as a parameter of one (or of a libpq connection string).
if TYPE_CHECKING:
    from workers.stack.process import State  # the command line need not import how processes are run

_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/@:]*):[^/@]*@|(?P<key>password=)[^&\s]*")


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One supervised process.

    Attributes:
        name: As it is shown.
        pid: None while there is none.
        state: `running` is the only good one.
        since: When it got into that state; RFC 3339.
        restarts: How often it was started again.
    """

    name: str
    pid: int | None
    state: State
    since: str
    restarts: int


@dataclass(frozen=True, slots=True)
class StackStatus:
    """Everything about a running stack.

    Attributes:
        processes: In the order in which they are started.
        urls: `api`, `database`, `redis`, with passwords; empty before the servers run.
        commands_dir: Folder of the user's own command files.
        home: Folder of all data.
        pid: The supervisor's; None when nothing runs.
    """

    processes: tuple[ProcessStatus, ...]
    urls: Mapping[str, str]
    commands_dir: str
    home: str
    pid: int | None

    @property
    def is_healthy(self) -> bool:
        """Whether everything that should run does."""
        return bool(self.processes) and all(process.state == "running" for process in self.processes)

    def public(self) -> dict[str, Any]:
        """As JSON values that may be shown to anybody: no passwords."""
        return {**dataclasses.asdict(self), "urls": {name: redact(url) for name, url in self.urls.items()}}


def redact(url: str) -> str:
    """The URL with `***` for its password."""
    return _PASSWORD.sub(lambda found: f"{found['key']}***" if found["key"] else f"{found['user']}:***@", url)


def read_status(folder: Path) -> StackStatus | None:
    """The status of the stack whose `run` folder this is; None when nothing runs, whatever file was left behind."""
    holder = find_holder(folder)
    if holder is None:
        return None
    try:
        found = json.loads(_path(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {"pid": None}
    if found["pid"] != holder.pid:  # left behind by an earlier supervisor; this one has not written yet
        return StackStatus((), {}, "", str(folder.parent), holder.pid)
    processes = tuple(ProcessStatus(**process) for process in found.pop("processes"))
    return StackStatus(processes=processes, **found)


def write_status(folder: Path, status: StackStatus) -> None:
    """Replace the file, whole; only its owner may read it, since the URLs hold passwords.

    Raises:
        OSError: The disk takes no more.
    """
    write_private(_path(folder), json.dumps(dataclasses.asdict(status), indent=2) + "\n", scratch=folder)


def remove_status(folder: Path) -> None:
    """At the end: nothing runs any more."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: Path) -> Path:
    return folder / "status.json"
