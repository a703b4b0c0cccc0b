"""Forks a process of Weir for every line it reads, and says its process id: run as `nursery.py LOG_FILE`.

What the processes need is imported once, so that one that was killed is there again at once. They end with this one.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from api.cli.services import complete, preload, run_service
from api.settings import load_settings
from telemetry.logs import configure_logs
from workers.embedded import ServerUrls
from workers.home import find_home
from workers.stack.fork import ForkedProcess, die_with, fork


def main() -> None:
    """Read names of services until the input ends."""
    settings = load_settings()
    servers = settings.servers
    settings = complete(settings, find_home(servers), ServerUrls(str(servers.database_url), str(servers.redis_url)))
    preload()
    here = os.getpid()
    children: list[ForkedProcess] = []
    for line in sys.stdin:
        name = line.strip()
        children = [child for child in children if child.poll() is None]
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

        def enter(name: str = name) -> None:
            die_with(here)
            configure_logs("json", servers.log_level, name)

        child = fork(partial(run_service, name, settings), log, enter)
        os.close(log)
        children.append(child)
        print(child.pid, flush=True)  # noqa: T201 - what it is for
    for child in children:
        child.stop()


if __name__ == "__main__":
    main()
