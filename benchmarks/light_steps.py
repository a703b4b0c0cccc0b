"""`light_steps_ms_p50`: one execution of 40 light steps in a row, from before its claim to after its final commit.

In this process, on durable servers, telemetry on, one execution at a time. The reference is the same 40 steps without
execution, ledger or telemetry: their templates evaluated, their parameters checked, `run()` called.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import median
from time import perf_counter_ns

from benchmarks.commands import INPUTS, InlineWorker, inline_worker, light_command
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import Servers
from dsl.command import Command
from dsl.steps import REGISTRY
from dsl.testing import make_context

_STEPS = 40


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """The figure of this module."""
    rounds = 10 if quick else 100
    command = light_command(_STEPS)
    with inline_worker(servers.database_url, servers.redis_url) as worker:
        measurements = {"execution": partial(_execution, worker, command), "bare": partial(_bare, command)}
        interleave(measurements, 5)
        times = interleave(measurements, rounds)
    return {"light_steps_ms_p50": Measured(median(times["execution"]), median(times["bare"]))}


def _execution(worker: InlineWorker, command: Command) -> float:
    worker.submit(command)
    begun = perf_counter_ns()
    worker.run()
    return (perf_counter_ns() - begun) / 1e6


def _bare(command: Command) -> float:
    names = {"inputs": INPUTS, "steps": {}}
    begun = perf_counter_ns()
    for spec in command.steps:
        step = REGISTRY[spec.type]
        step.run(step.Params.model_validate(spec.params.evaluate(names)), make_context(spec))
    return (perf_counter_ns() - begun) / 1e6
