"""`make chaos`: kill, stop and cut off everything while it works, then see whether anything was lost or done twice.

Exits with 0 when all is as it must be, with 1 when something is not (the folder with all data stays then), with 130
when it was interrupted.
"""

# ruff: noqa: T201 - it talks to whoever started it
from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog
from chaos.harness import Harness, mixed, points
from chaos.servers import NeverHappened
from chaos.stack import remove

#: Seconds that a run with points may take.
_POINTS_WITHIN = 1800.0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=_more_than_nothing, help="how long things go wrong (60; with --points at most: 1800)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the plan and the load (1)")
    parser.add_argument("--points", type=int, default=0, help="kill workers until so many executions lost theirs")
    parser.add_argument("--report", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder also when all is well")
    return parser.parse_args(arguments)


def _more_than_nothing(text: str) -> float:
    """Seconds; `nan` and what is not a number are no more than nothing."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        message = f"{text} is not a number of seconds above 0"
        raise argparse.ArgumentTypeError(message)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once; the exit code."""
    given = parsed(arguments)
    run = (
        points(given.seed, given.seconds or _POINTS_WITHIN, given.points)
        if given.points
        else mixed(given.seed, given.seconds or 60.0)
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    root = Path(tempfile.mkdtemp(prefix="weir-chaos-")).resolve()
    root.chmod(0o755)
    _say(f"seed {given.seed}, {run.seconds:g} s, in {root}")
    try:
        report = Harness(run, root, _say).carry_out()
    except KeyboardInterrupt:
        remove(root)
        _say("interrupted; everything was stopped")
        return 130
    except NeverHappened as error:
        print(f"\n{error}\nseed {given.seed}; all data and logs are in {root}")
        return 1
    print(f"\n{report.table()}")
    if given.report is not None:
        report.write(given.report)
    if report.differences:
        print(f"\n{report.diff()}\n\nseed {given.seed}; all data and logs are in {root}")
        return 1
    if given.keep:
        print(f"\nall data and logs are in {root}")
    else:
        remove(root)
    if report.lost:
        print("\nNothing was done twice, and nothing was lost but the events that are named above.")
    else:
        print("\nNothing was lost, and nothing was done twice.")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
