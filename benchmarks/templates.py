"""`template_cpu_ms`, `template_memory_mb`: the most that a template of 10 kB was seen to take.

Every template of `benchmarks.template_cases`, and some that are made at random, is compiled and evaluated in a process
of its own whose memory the kernel limits. CPU is that thread's own time, the least of some runs where the first took
long; memory is the peak that `tracemalloc` sees beyond the values given, in a run apart because that is slow. The
reference of CPU is the work that was counted for the same template, that of memory what any template may reckon with.

`python -m benchmarks.templates [N]` prints the worst of them, N at random among them, and where counting is worst.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from liquid.template import BoundTemplate

from benchmarks.figures import Measured
from benchmarks.template_cases import ADVERSARIAL, random_template, scope
from dsl import expressions
from dsl.errors import ExpressionError
from dsl.expressions import Compiler
from dsl.settings import DslSettings
from dsl.templates.context import Context

if TYPE_CHECKING:
    from benchmarks.servers import Servers

#: What a template may take.
MAX_CPU_MS, MAX_MEMORY_MB = 100.0, 20.0

_MEGABYTE = 1 << 20
_LIMIT_BYTES = 3 << 30
_NOTHING: Mapping[int, int] = MappingProxyType({})
_SLOW_MS, _RUNS = 30.0, 4
_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Seen:
    """What one template took.

    Attributes:
        name: Of the case, or the template itself.
        compile_ms: CPU to compile it.
        evaluate_ms: CPU to evaluate it.
        counted_ms: Work that was counted; none where it was no template.
        memory_mb: At the peak.
        error: Why it was refused; empty when it was not.
    """

    name: str
    compile_ms: float
    evaluate_ms: float
    counted_ms: float
    memory_mb: float
    error: str

    @property
    def cpu_ms(self) -> float:
        """To compile and evaluate it."""
        return self.compile_ms + self.evaluate_ms


class _Watched(Context):
    """The context of the last evaluation."""

    __slots__ = ()

    last: ClassVar[Context | None] = None

    def __init__(
        self, template: BoundTemplate, names: Mapping[str, object], work: int = 0, blocks: Mapping[int, int] = _NOTHING
    ) -> None:
        _Watched.last = self
        super().__init__(template, names, work, blocks)


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:  # noqa: ARG001 - of every group
    """The figures of this module."""
    seen = list(look_at_all(0 if quick else 500))
    slowest = max(seen, key=lambda one: one.cpu_ms)
    largest = max(one.memory_mb for one in seen)
    reckoned = Compiler(DslSettings()).max_memory / _MEGABYTE
    return {
        "template_cpu_ms": Measured(slowest.cpu_ms, max(slowest.counted_ms, 0.001)),
        "template_memory_mb": Measured(largest, reckoned),
    }


def look_at_all(random: int, first: int = 0) -> Iterator[Seen]:
    """Try every case, and as many templates at random."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_bounded) as pool:
        yield from pool.map(_adversarial, ADVERSARIAL, chunksize=10)
        yield from pool.map(_random, range(first, first + random), chunksize=50)


def look(name: str, text: str) -> Seen:
    """Try one template."""
    seen = [_run(text)]
    for _ in range(_RUNS):
        if seen[0][0] + seen[0][1] > _SLOW_MS:
            seen.append(_run(text))
    compile_ms, evaluate_ms, counted_ms, error = min(seen, key=lambda times: times[0] + times[1])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        _run(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Seen(name, compile_ms, evaluate_ms, counted_ms, (peak - before) / _MEGABYTE, error)


def _run(text: str) -> tuple[float, float, float, str]:
    """CPU to compile and to evaluate in ms, work counted in ms, why it was refused."""
    compiler, names = Compiler(DslSettings()), scope()
    _Watched.last, error = None, ""
    started = compiled = time.thread_time_ns()
    try:
        template = compiler.template(text)
        compiled = time.thread_time_ns()
        template.evaluate(names)
    except ExpressionError as refused:
        error = refused.detail
    ended = time.thread_time_ns()
    if compiled == started:
        compiled = ended
    watched: Context | None = _Watched.last
    counted = 0 if watched is None else watched.work
    return (compiled - started) / 1e6, (ended - compiled) / 1e6, counted / 1e6, error


def _adversarial(name: str) -> Seen:
    return look(name, ADVERSARIAL[name])


def _random(seed: int) -> Seen:
    text = random_template(Random(seed))
    return look(f"#{seed} {text}", text)


def _bounded() -> None:
    """Let the kernel end what gets round every limit."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    vars(expressions)["Context"] = _Watched  # to see what was counted
    scope()


def _worst(title: str, seen: Sequence[Seen]) -> None:
    print(f"\n{title}\n{'compile':>8} {'evaluate':>8} {'counted':>8} {'MB':>6}  template, and why it was refused")
    for one in seen[:_SHOWN]:
        figures = f"{one.compile_ms:8.1f} {one.evaluate_ms:8.1f} {one.counted_ms:8.1f} {one.memory_mb:6.1f}"
        print(f"{figures}  {one.name[:110]!r} {one.error[:60]}")


def main(arguments: Sequence[str]) -> int:
    """Try them all and print the worst; the exit code is 1 when one took more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.templates", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("random", type=int, nargs="?", default=1000, help="random templates to try beside the others")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first of them")
    options = parser.parse_args(arguments)
    seen = list(look_at_all(options.random, options.first))
    by_cpu = sorted(seen, key=lambda one: -one.cpu_ms)
    by_memory = sorted(seen, key=lambda one: -one.memory_mb)
    counted = [one for one in seen if one.evaluate_ms > _SLOW_MS / 6]
    _worst("most CPU", by_cpu)
    _worst("most memory", by_memory)
    _worst(
        "most used beside what was counted", sorted(counted, key=lambda one: -one.evaluate_ms / (one.counted_ms + 0.1))
    )
    refused = sum(bool(one.error) for one in seen)
    cpu_ms, memory_mb = by_cpu[0].cpu_ms, by_memory[0].memory_mb
    print(
        f"\n{len(seen)} templates, {refused} refused; at most {cpu_ms:.1f} ms of CPU (limit {MAX_CPU_MS:.0f}) "
        f"and {memory_mb:.1f} MB (limit {MAX_MEMORY_MB:.0f})"
    )
    return int(cpu_ms > MAX_CPU_MS or memory_mb > MAX_MEMORY_MB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
