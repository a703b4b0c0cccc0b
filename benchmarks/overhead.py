"""What telemetry adds to a submission, a command and one of its steps: the same work with and without it, in turn.

Everything runs in this process and in one thread, by the code that API and worker processes run, on real servers; two
sets of it, one with telemetry on, one with `enabled = False`. A round takes a block of executions of each; a figure is
the median over all rounds of (median with telemetry - median without). Commits do not wait for the disk
(`synchronous_commit = off`), whose jitter is a hundred times what is looked for. Events travel on meanwhile: the
recorder's thread hands them over whenever it is due, and is waited for, untimed, at the end of each block.

- `submit_overhead_us_p50`: `Executions.submit`. Reference: its INSERTs (definition and execution) by psycopg alone.
- `command_overhead_us_p50`: from before the claim to after the final commit and the last `record()`, for a command of 5
  light steps. Reference: the same without telemetry.
- `step_overhead_us_p50`: as the command's, for one of 45 light steps less one of 5, divided by the 40 steps between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter_ns

from psycopg import Connection

from benchmarks.commands import INPUTS, InlineWorker, inline_worker, light_command
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import PSEUDONYM_KEY, Servers
from dsl.command import Command
from dsl.testing import DEFAULT_SPACE_ID
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.ids import new_id
from telemetry.settings import TelemetrySettings
from workers.executions import SQL
from workers.submissions import Acceptance, Submission

_FEW, _MANY = 5, 45
#: Executions of one block.
_BLOCK = 20


@dataclass(frozen=True, slots=True)
class _Block:
    """Microseconds of each execution in a block: to submit it, and to run it."""

    submit: list[float]
    run: list[float]


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    rounds = 6 if quick else 80
    few, many = light_command(_FEW), light_command(_MANY)
    url = _asynchronous(servers.database_url)
    telemetry = TelemetrySettings(pseudonym_key=PSEUDONYM_KEY)
    with ExitStack() as stack:
        on = stack.enter_context(inline_worker(url, servers.redis_url, telemetry))
        off = stack.enter_context(inline_worker(url, servers.redis_url, replace(telemetry, enabled=False)))
        connection = stack.enter_context(closing(connect(url, name="weir benchmarks", autocommit=True)))
        bare = partial(_submit_bare, connection, few)
        blocks_of_few = {"on": partial(_run_block, on, few), "off": partial(_run_block, off, few), "bare": bare}
        blocks_of_many = {"on": partial(_run_block, on, many), "off": partial(_run_block, off, many)}
        for blocks in (blocks_of_many, blocks_of_few):
            interleave(blocks, 2)  # warms caches, prepares statements
        of_few, of_many = interleave(blocks_of_few, rounds), interleave(blocks_of_many, rounds // 2)

    bare_us = median(median(block.submit) for block in of_few["bare"])
    added, added_to_many = (_difference(blocks, lambda block: block.run) for blocks in (of_few, of_many))
    step = (_without(of_many) - _without(of_few)) / (_MANY - _FEW)
    return {
        "submit_overhead_us_p50": Measured(_difference(of_few, lambda block: block.submit), bare_us),
        "command_overhead_us_p50": Measured(added, _without(of_few)),
        "step_overhead_us_p50": Measured((added_to_many - added) / (_MANY - _FEW), step),
    }


def _run_block(worker: InlineWorker, command: Command) -> _Block:
    block = _Block([], [])
    for _ in range(_BLOCK):
        begun = perf_counter_ns()
        worker.submit(command)
        submitted = perf_counter_ns()
        worker.run()
        ended = perf_counter_ns()
        block.submit.append((submitted - begun) / 1000)
        block.run.append((ended - submitted) / 1000)
    worker.resources.recorder.flush()
    return block


def _difference(blocks: Mapping[str, list[_Block]], times: Callable[[_Block], list[float]]) -> float:
    pairs = zip(blocks["on"], blocks["off"], strict=True)
    return median(median(times(on)) - median(times(off)) for on, off in pairs)


def _without(blocks: Mapping[str, list[_Block]]) -> float:
    return median(median(block.run) for block in blocks["off"])


def _submit_bare(connection: Connection, command: Command) -> _Block:
    """The statement that accepts an execution, on one connection, with nothing around it. No worker takes its lane."""
    clock, block = SystemClock(), _Block([], [])
    for _ in range(_BLOCK):
        now_us = clock.unix_us()
        given = Submission(command, INPUTS, "benchmark", "default", "api", new_id(now_us), lane="bare")
        row = Acceptance(given, new_id(now_us), DEFAULT_SPACE_ID, now_us, None).row()
        begun = perf_counter_ns()
        connection.execute(SQL["submit"], row)
        block.submit.append((perf_counter_ns() - begun) / 1000)
    return block


def _asynchronous(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-c%20synchronous_commit%3Doff"
