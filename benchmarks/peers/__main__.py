"""`python -m benchmarks.peers`: install the peers if need be, measure, print the table, write `results.json`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.peers.figures import table, write
from benchmarks.peers.installing import installed_python, installed_versions
from benchmarks.peers.measuring import measure
from benchmarks.servers import BenchmarkFailed, Servers, running_servers
from telemetry.connections import connect, open_redis
from telemetry.errors import WeirError

#: Where the figures go unless told otherwise; not kept under version control.
RESULTS = Path(__file__).with_name("results.json")

_EXPECTED, _INTERRUPTED = 1, 130


def main(arguments: Sequence[str]) -> int:
    """Compare. The exit code: 0; 1 when something went wrong; 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="make bench-peers", description="Measure Weir beside DBOS, Celery and OpenTelemetry."
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of little: whether it works, not how fast it is"
    )
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing stays behind, whichever it is
        signal.signal(number, signal.default_int_handler)
    try:
        python = installed_python()
        others = OtherPrograms()
        with quiet(), running_servers() as servers:
            versions = _versions(servers) | installed_versions(python)
            comparisons = measure(servers, python, quick=options.quick)
    except (BenchmarkFailed, WeirError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return _EXPECTED
    except KeyboardInterrupt:
        return _INTERRUPTED
    write(comparisons, versions, options.results)
    print(table(comparisons))
    print(f"\n{', '.join(f'{name} {number}' for name, number in versions.items())}.")
    print(f"Other programs used {others.cores():.1f} cores meanwhile. Compare ratios; values only on one machine.")
    return 0


def _versions(servers: Servers) -> dict[str, str]:
    with connect(servers.database_url, name="weir benchmarks") as connection:
        row = connection.execute("show server_version").fetchone()
    with open_redis(servers.redis_url) as client:
        facts = client.info("server")
    return {
        "Weir": version("weir"),
        "Python": sys.version.split()[0],
        "PostgreSQL": str(row[0]).split()[0] if row else "?",
        "Valkey": str(facts.get("valkey_version", facts["redis_version"])),
        "Dramatiq": version("dramatiq"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
