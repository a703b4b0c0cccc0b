"""`python -m benchmarks.templates [N]`: the most CPU and memory that a template of 10 kB was seen to take.

Every template of `benchmarks.template_cases`, and N random ones, is compiled and evaluated in processes of their own
whose memory and CPU time the kernel limits. CPU is this process's own time, the least of three runs where the first
took long; memory is the peak that `tracemalloc` sees beyond the values given, in a run apart because that is slow.
Beside them stands the work that was counted: what is used over what is counted says how good the costs are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import ClassVar

from liquid.template import BoundTemplate

from benchmarks.template_cases import ADVERSARIAL, random_template, scope
from dsl import expressions
from dsl.errors import ExpressionError
from dsl.expressions import Compiler
from dsl.settings import DslSettings
from dsl.templates.context import Context

#: What a template may take.
MAX_CPU_MS, MAX_MEMORY_MB = 100.0, 20.0

_LIMIT_BYTES = 3 << 30
_NOTHING: Mapping[int, int] = MappingProxyType({})
_SLOW_MS = 40.0
_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Seen:
    """What one template took.

    Attributes:
        name: Of the case, or the template itself.
        cpu_ms: To compile and evaluate it.
        memory_mb: At the peak, while it was evaluated.
        counted_ms: Work that was counted; none where it was no template.
        error: Why it was refused; empty when it was not.
    """

    name: str
    cpu_ms: float
    memory_mb: float
    counted_ms: float | None
    error: str


class _Watched(Context):
    """The context of the last evaluation."""

    __slots__ = ()

    last: ClassVar[Context | None] = None

    def __init__(
        self, template: BoundTemplate, names: Mapping[str, object], work: int = 0, blocks: Mapping[int, int] = _NOTHING
    ) -> None:
        _Watched.last = self
        super().__init__(template, names, work, blocks)


def look(name: str, text: str) -> Seen:
    """Try one template."""
    cpu_ms, counted_ms, error = _run(text)
    for _ in range(2):
        if cpu_ms > _SLOW_MS:
            cpu_ms = min(cpu_ms, _run(text)[0])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        _run(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Seen(name, cpu_ms, (peak - before) / (1 << 20), counted_ms, error)


def _run(text: str) -> tuple[float, float | None, str]:
    """CPU in ms, work counted in ms, why it was refused."""
    compiler, names = Compiler(DslSettings()), scope()
    _Watched.last, error = None, ""
    started = time.process_time_ns()
    try:
        compiler.template(text).evaluate(names)
    except ExpressionError as refused:
        error = refused.detail
    used_ms = (time.process_time_ns() - started) / 1e6
    watched: Context | None = _Watched.last
    return used_ms, None if watched is None else watched.work / 1e6, error


def _adversarial(name: str) -> Seen:
    return look(name, ADVERSARIAL[name])


def _random(seed: int) -> Seen:
    text = random_template(Random(seed))
    return look(text, text)


def _bounded() -> None:
    """Let the kernel end what gets round every limit."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    vars(expressions)["Context"] = _Watched  # to see what was counted
    scope()


def _worst(title: str, seen: Sequence[Seen]) -> None:
    print(f"\n{title}\n{'CPU ms':>8} {'counted':>8} {'MB':>6}  template, and why it was refused")
    for one in seen[:_SHOWN]:
        counted = "" if one.counted_ms is None else f"{one.counted_ms:.1f}"
        print(f"{one.cpu_ms:8.1f} {counted:>8} {one.memory_mb:6.1f}  {one.name[:110]!r} {one.error[:60]}")


def main(arguments: Sequence[str]) -> int:
    """Try them all and print the worst; the exit code is 1 when one took more than it may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.templates", description=__doc__.partition("\n")[0])
    parser.add_argument("random", type=int, nargs="?", default=1000, help="random templates to try beside the others")
    count = parser.parse_args(arguments).random
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_bounded) as pool:
        seen = [*pool.map(_adversarial, ADVERSARIAL), *pool.map(_random, range(count), chunksize=50)]
    by_cpu = sorted(seen, key=lambda one: -one.cpu_ms)
    by_memory = sorted(seen, key=lambda one: -one.memory_mb)
    counted = [one for one in seen if one.counted_ms and one.cpu_ms > _SLOW_MS / 8]
    _worst("most CPU", by_cpu)
    _worst("most memory", by_memory)
    _worst("most used beside what was counted", sorted(counted, key=lambda one: -one.cpu_ms / (one.counted_ms or 1)))
    refused = sum(bool(one.error) for one in seen)
    cpu_ms, memory_mb = by_cpu[0].cpu_ms, by_memory[0].memory_mb
    print(f"\n{len(seen)} templates, {refused} refused; at most {cpu_ms:.1f} ms and {memory_mb:.1f} MB")
    return int(cpu_ms > MAX_CPU_MS or memory_mb > MAX_MEMORY_MB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
