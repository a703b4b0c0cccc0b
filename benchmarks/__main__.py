"""`python -m benchmarks`: measure, print the table, write `results.json`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from time import monotonic

from benchmarks.figures import NAMES, Measured, table, write
from benchmarks.processes import cpu_seconds, machine_cpu_seconds
from benchmarks.servers import BenchmarkFailed, running_servers
from telemetry.errors import WeirError
from telemetry.logs import configure_logs

#: Where the figures go unless told otherwise; not kept under version control.
RESULTS = Path(__file__).with_name("results.json")

_EXPECTED, _INTERRUPTED = 1, 130


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that are measured together.

    Attributes:
        module: Of this package; its `measure(servers, quick=...)` measures them, and its docstring says how.
        names: The figures.
    """

    module: str
    names: tuple[str, ...]


class OtherPrograms:
    """What the rest of the machine was doing since this was made."""

    def __init__(self) -> None:
        self._begun = monotonic()
        self._used_before = self._used()

    def cores(self) -> float:
        """How many cores it kept busy, on average."""
        return max(0.0, (self._used() - self._used_before) / (monotonic() - self._begun))

    def _used(self) -> float:
        return machine_cpu_seconds() - cpu_seconds(os.getpid())


GROUPS: tuple[Group, ...] = (
    Group(
        "telemetry", ("record_us_p50", "record_us_cpu", "sink_events_per_s", "sink_share_of_copy", "bytes_per_event")
    ),
    Group(
        "overhead",
        ("step_overhead_us_p50", "command_overhead_us_p50", "submit_overhead_us_p50"),
    ),
    Group("memory", ("memory_per_execution_bytes",)),
    Group("malformed", ("malformed_rate",)),
    Group("lag", ("lag_ms_p50", "lag_ms_p99", "sink_cpu_percent")),
    Group("stream_cut", ("stream_cut_command",)),
    Group("throughput", ("executions_per_s", "executions_db_per_s", "executions_commits_per_s")),
    Group("light_steps", ("light_steps_ms_p50",)),
    Group("lanes", ("lane_latency_ms_p50",)),
    Group("flat", ("flat_execution", "flat_page", "flat_tick")),
    Group("imports", ("import_notes_per_s", "import_peak_mb")),
    Group("templates", ("template_cpu_ms", "template_memory_mb")),
    Group("idle", ("idle_latency_ms_p50", "idle_latency_ms_p95", "idle_pss_mb", "idle_cpu_percent")),
)


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for. The exit code: 0; 1 when something went wrong; 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure Weir beside references, in one run.")
    parser.add_argument("--only", metavar="NAME[,NAME]", type=_names, default=NAMES, help="these figures")
    parser.add_argument("--quick", action="store_true", help="few rounds: whether it works, not how fast it is")
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing stays behind, whichever it is
        signal.signal(number, signal.default_int_handler)
    others = OtherPrograms()
    try:
        results = _measure(options.only, quick=options.quick)
    except (BenchmarkFailed, WeirError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return _EXPECTED
    except KeyboardInterrupt:
        return _INTERRUPTED
    write(results, options.results)
    print(table(results))
    print(
        f"\nOther programs used {others.cores():.1f} cores meanwhile. Targets are for a machine that does nothing else."
    )
    return 0


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise argparse.ArgumentTypeError(f"there is no figure {name}; {meant}")
    return names


def _measure(names: Sequence[str], *, quick: bool) -> dict[str, Measured]:
    """The named figures. Each group has servers of its own, so that none leaves anything to the next."""
    results: dict[str, Measured] = {}
    with quiet():
        for group in GROUPS:
            if set(group.names).isdisjoint(names):
                continue
            measure: Callable[..., Mapping[str, Measured]] = import_module(f"benchmarks.{group.module}").measure
            print(f"measuring {', '.join(group.names)} ...", end=" ", file=sys.stderr, flush=True)
            begun = monotonic()
            with running_servers() as servers:
                results.update(measure(servers, quick=quick))
            print(f"{monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return {name: results[name] for name in NAMES if name in names}


@contextmanager
def quiet() -> Iterator[None]:
    """Write log lines as every process does, and let nobody read them. What goes wrong here is still shown."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        configure_logs("json", "info", "benchmarks", stream=nowhere)
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
        sys.unraisablehook = sys.__unraisablehook__
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
