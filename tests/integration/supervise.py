"""A supervisor as small as can be, to be killed: starts both servers, says so, waits for its stdin to end.

Usage: supervise.py HOME. Prints one line of JSON once both answer: {"name": {"pid": ..., "url": ...}, ...}
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

from fixtures.running import start_server

from workers.embedded import embedded_servers
from workers.home import find_home
from workers.processes import find_server_user
from workers.settings import ServerSettings


def main() -> None:
    """Run until stdin ends, or for as long as one is let."""
    settings = ServerSettings(home=Path(sys.argv[1]))
    home = find_home(settings)
    home.prepare(find_server_user())
    with ExitStack() as stack:
        started = {}
        for server in embedded_servers(settings, home):
            process = start_server(stack, server, home.logs / f"{server.name}.log")
            started[server.name] = {"pid": process.pid, "url": server.url}
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
