"""Whatever goes wrong in telemetry, commands run as before, and what was lost is counted to the last event."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from psycopg_pool import ConnectionPool

from dsl.check import load
from dsl.extensions import StepTypes
from dsl.inputs import check_inputs
from dsl.library import PACKS, Library
from dsl.settings import DslSettings
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from dsl.steps import REGISTRY
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.errors import StreamUnavailable
from telemetry.events import MEASURES, Scope, StepExecuted, event_type
from telemetry.ids import mint, new_id
from telemetry.outbox import Stream
from telemetry.pipeline import open_writer
from telemetry.privacy import Pseudonyms
from telemetry.recorder import BufferedRecorder, NullRecorder, Recorder
from telemetry.settings import TelemetrySettings
from telemetry.synchronous import SynchronousRecorder
from workers.executions import Executions, Submission
from workers.flusher import Flusher
from workers.leases import SQL as LEASES
from workers.runner import Runner
from workers.testing import RememberingRecorder, World
from workers.tools import WorkerTools
from workers.watch import Watch

CLOCK = SystemClock()
LONG = timedelta(minutes=1)
SMALL = TelemetrySettings(buffer_max_events=100, batch_size=100, flush_interval=timedelta(milliseconds=5))

#: Steps of every effect, and one that fails: what it leaves behind is compared.
COMMAND = """
slug: harmless
inputs: {fails: {type: boolean, default: false}}
steps:
  - {id: text, type: transform, with: {template: "a text"}}
  - {id: keep, type: fragment.create, with: {type: note, title: "{{ steps.text.output }}", tags: [a]}}
  - {id: find, type: fragment.query, with: {type: note, fields: [title], limit: 1}}
  - {id: each, type: list.map, with: {items: [1, 2], do: [{id: change, type: fragment.update,
     with: {id: "{{ steps.keep.output.id }}", state: {last: "{{ item }}"}}}]}}
  - {id: tell, type: notify, with: {channel: log, message: said}}
  - {id: check, type: validate, with: {rules: [{value: "{{ inputs.fails }}", in: [false], message: wanted}]}}
  - {id: answer, type: respond, with: {value: "{{ steps.find.output.items[0].title }}"}}
"""

#: What a run leaves in the database, without what differs from one run to the next.
LEFT_BEHIND = """
    select 'execution', state, dry_run::text, result::text, error ->> 'message', steps_executed, steps_successful,
        steps_failed, steps_skipped, mutations_count, attempt
    from command_executions where id = %(id)s
    union all select 'step', path, outcome, measures::text, error ->> 'message', ordinal, mutations_count, 0, 0, 0, 0
    from command_steps where execution_id = %(id)s
    union all select 'mutation', entity, operation, array_to_string(changed_fields, ','), '', rows_count, 0, 0, 0, 0, 0
    from mutations where execution_id = %(id)s
    order by 1, 6, 2, 3, 4
"""


class Mismeasured(Step):
    """A step type of somebody's own whose numbers are none."""

    type: ClassVar[str] = "test.mismeasured"
    effect: ClassVar[Effect] = Effect.NONE
    Params = StepParams
    measure: ClassVar[Any] = None

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        return StepResult("done", measures={"items": self.measure})


@dataclass
class Broken:
    """A `telemetry.recorder.Stream` that takes nothing.

    Attributes:
        fault: What it raises.
        closes: Whether it can at least be closed.
    """

    fault: Exception
    closes: bool = True

    def append(self, data: bytes) -> None:
        raise self.fault

    def length(self) -> int:
        raise self.fault

    def close(self) -> None:
        if not self.closes:
            raise self.fault


class Commands:
    """Runs commands as a worker does, with a recorder that may be broken."""

    def __init__(self, pool: ConnectionPool[Any], recorder: Recorder) -> None:
        self._pool = pool
        self._settings = DslSettings()
        self._registry = {**REGISTRY, Mismeasured.type: Mismeasured()}
        pseudonyms = Pseudonyms(b"a key for tests")
        self._executions = Executions(pool, CLOCK, recorder, pseudonyms)
        library = Library([PACKS], self._registry, self._settings, CLOCK)
        worker_id = new_id(CLOCK.unix_us())
        facts = {"id": worker_id, "lane": "default", "host": "here", "process_id": 1}
        with pool.connection() as connection:
            connection.execute(LEASES["register"], {**facts, "lease_ms": 3_600_000})
        self._runner = Runner(
            worker_id=lambda: worker_id,
            step_types=StepTypes(self._registry, MEASURES),
            library=library,
            executions=self._executions,
            pool=pool,
            clock=CLOCK,
            recorder=recorder,
            tools=WorkerTools(CLOCK, pseudonyms, self._settings, library),
            flusher=Flusher(timedelta(milliseconds=50)),
            settings=self._settings,
            watch=Watch(CLOCK, patience=LONG, stuck_after=LONG, on_stuck=lambda _: None),
        )

    def run(
        self, source: str = COMMAND, inputs: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> list[Any]:
        """Run a command to its end; what it left behind."""
        command = load(source, self._registry, self._settings, origin="test")
        execution_id = self._executions.submit(
            Submission(
                command=command,
                inputs=check_inputs(command, inputs or {}),
                user="tester",
                space="default",
                request_source="api",
                correlation_id=new_id(CLOCK.unix_us()),
                dry_run=dry_run,
            )
        )
        assert self._runner.run_lane("default") == 1
        with self._pool.connection() as connection:
            left: list[Any] = connection.execute(LEFT_BEHIND, {"id": execution_id}).fetchall()
        return left

    def run_each_way(self) -> list[list[Any]]:
        """One that succeeds, one that fails half-way, and a dry run of each."""
        return [
            self.run(inputs={"fails": fails}, dry_run=dry_run) for dry_run in (False, True) for fails in (False, True)
        ]


@pytest.fixture
def healthy(autocommit_pool: ConnectionPool[Any]) -> tuple[list[list[Any]], Counter[str]]:
    """What the commands leave behind, and which events they record, when nothing is wrong."""
    recorder = RememberingRecorder()
    left = Commands(autocommit_pool, recorder).run_each_way()
    states = [rows[0][1] for rows in left]
    assert states == ["succeeded", "failed", "succeeded", "failed"]
    return left, Counter(recorder.types)


def buffered(stream: Callable[[], Stream], settings: TelemetrySettings = SMALL) -> BufferedRecorder:
    return BufferedRecorder(settings, stream, name="test", clock=CLOCK)


def cannot_be_opened() -> Stream:
    raise ValueError("the URL makes no sense")


@contextmanager
def silent_server() -> Iterator[str]:
    """URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.req("C-13", "A-12")
def test_with_redis_unreachable_commands_run_the_same_and_every_loss_is_counted(
    autocommit_pool: ConnectionPool[Any], tmp_path: Path, healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    recorder = buffered(partial(open_writer, SMALL, f"unix://{tmp_path}/nobody.sock"))

    left = Commands(autocommit_pool, recorder).run_each_way()
    recorder.flush(timedelta(milliseconds=100))
    before_closing = recorder.stats()
    recorder.close()

    expected, events = healthy
    assert left == expected
    assert not before_closing.is_reachable
    assert before_closing.waiting + sum(before_closing.dropped.values()) == events.total()
    after = recorder.stats()
    assert (after.handed_over, after.waiting) == (0, 0)
    assert after.dropped == events


@pytest.mark.req("C-13")
def test_a_redis_that_says_nothing_delays_no_command(
    autocommit_pool: ConnectionPool[Any], healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    """Each of its answers is waited for 250 ms; had the commands to wait too, they would take many times as long."""
    with silent_server() as url:
        recorder = buffered(partial(open_writer, SMALL, url))
        began = time.monotonic()
        left = [rows for _ in range(5) for rows in Commands(autocommit_pool, recorder).run_each_way()]
        took_s = time.monotonic() - began
        recorder.close()

    expected, events = healthy
    assert left == 5 * expected
    assert took_s < 5 * events.total() * SMALL.stream_timeout.total_seconds() / 10
    assert recorder.stats().dropped == {name: 5 * count for name, count in events.items()}


@pytest.mark.req("C-13")
@pytest.mark.parametrize(
    "fault",
    [
        StreamUnavailable("gone"),
        ConnectionResetError("reset"),
        OSError(28, "No space left on device"),
        MemoryError(),
        RecursionError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "what was that"),
        AssertionError("a bug"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_whatever_the_stream_raises_commands_run_the_same_and_every_loss_is_counted(
    fault: Exception, autocommit_pool: ConnectionPool[Any], healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    recorder = buffered(lambda: Broken(fault))

    left = Commands(autocommit_pool, recorder).run_each_way()
    recorder.close()

    expected, events = healthy
    assert left == expected
    assert recorder.stats().dropped == events


@pytest.mark.req("C-13")
def test_a_stream_that_cannot_even_be_opened_harms_nobody(
    autocommit_pool: ConnectionPool[Any], healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    recorder = buffered(cannot_be_opened)

    left = Commands(autocommit_pool, recorder).run_each_way()
    recorder.close()

    expected, events = healthy
    assert left == expected
    assert recorder.stats().dropped == events


@pytest.mark.req("C-13")
def test_a_stream_that_cannot_be_closed_does_not_keep_a_process_from_ending() -> None:
    recorder = buffered(lambda: Broken(OSError("still busy"), closes=False))
    now_us = CLOCK.unix_us()
    scope = Scope(correlation_id=bytes(16), request_source="api")
    recorder.record(StepExecuted(mint(now_us), now_us, scope, "step", "transform", 1))

    recorder.close()

    assert recorder.stats().dropped == {"dsl.step.executed": 1}


@pytest.mark.req("C-13")
def test_a_full_buffer_drops_what_is_new_and_counts_it(autocommit_pool: ConnectionPool[Any]) -> None:
    recorder, remembering = buffered(lambda: Broken(StreamUnavailable("gone"))), RememberingRecorder()
    for counted in (recorder, remembering):
        commands = Commands(autocommit_pool, counted)
        for _ in range(12):
            commands.run()

    stats = recorder.stats()
    recorder.close()

    recorded = Counter(remembering.types)
    assert stats.dropped
    assert stats.waiting >= SMALL.buffer_max_events
    assert stats.waiting + sum(stats.dropped.values()) == recorded.total()
    assert recorder.stats().dropped == recorded


@pytest.mark.req("C-13")
@pytest.mark.parametrize("synchronous", [False, True], ids=["buffered", "synchronous"])
def test_an_event_that_cannot_be_encoded_is_dropped_and_counted(synchronous: bool, database_url: str) -> None:
    recorder: Recorder = buffered(lambda: Broken(StreamUnavailable("gone")))
    if synchronous:
        recorder = SynchronousRecorder(partial(connect, database_url, name="test"), clock=CLOCK)
    now_us = CLOCK.unix_us()
    scope = Scope(correlation_id=bytes(16), request_source="api")
    for wrong in (object(), 1 << 70, b"\xff", {1: {2: object()}}):
        event = StepExecuted(mint(now_us), now_us, scope, "step", "transform", wrong)  # type: ignore[arg-type]
        recorder.record(event)
    recorder.record("not even an event")  # type: ignore[arg-type]

    recorder.close()

    assert recorder.stats().dropped == {"dsl.step.executed": 4, "unknown": 1}


@pytest.mark.req("C-13", "A-12")
def test_a_store_without_room_harms_nobody_in_synchronous_mode(
    autocommit_pool: ConnectionPool[Any], database_url: str, healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    """No partition was made, so not one event can be stored."""
    recorder = SynchronousRecorder(partial(connect, database_url, name="test"), clock=CLOCK)

    left = Commands(autocommit_pool, recorder).run_each_way()
    recorder.close()

    expected, events = healthy
    assert left == expected
    assert recorder.stats().dropped == events


@pytest.mark.req("C-13", "S-02")
def test_without_telemetry_the_same_rows_are_left(
    autocommit_pool: ConnectionPool[Any], healthy: tuple[list[list[Any]], Counter[str]]
) -> None:
    left = Commands(autocommit_pool, NullRecorder()).run_each_way()

    assert left == healthy[0]


@pytest.mark.req("C-13", "C-07")
@pytest.mark.parametrize(
    "measure",
    [float("nan"), float("inf"), object(), 1 << 70, "\x00", "\ud800", [object()]],
    ids=["NaN", "infinity", "an object", "more than 64 bits", "NUL", "half a character", "a list"],
)
def test_a_step_type_that_measures_nonsense_runs_all_the_same(
    measure: object, autocommit_pool: ConnectionPool[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mismeasured, "measure", measure)
    recorder = RememberingRecorder()

    left = Commands(autocommit_pool, recorder).run("slug: odd\nsteps: [{id: odd, type: test.mismeasured, with: {}}]")

    assert left[0][:4] == ("execution", "succeeded", "false", '"done"')
    assert "command.execution.completed" in recorder.types


class Mislabelled(Step):
    """A step type of somebody's own that names its fragment by a text."""

    type: ClassVar[str] = "test.mislabelled"
    effect = Effect.NONE
    Params = StepParams

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        fragment: Any = "01890a5d-ac96-774b-bcce-b302099a8057"
        return StepResult(output="done", fragment_id=fragment)


class MislabelledEffect(Mislabelled):
    """The same, committed at once."""

    type: ClassVar[str] = "test.mislabelled_effect"
    effect = Effect.DATABASE


@pytest.mark.req("S-02", "C-13")
@pytest.mark.parametrize("step_type", [Mislabelled, MislabelledEffect])
def test_a_row_of_which_no_event_can_be_made_costs_its_event_and_nothing_else(
    world: World, step_type: type[Mislabelled]
) -> None:
    world.step_types[step_type.type] = step_type()

    done = world.run(
        f"slug: odd\nsteps: [{{id: odd, type: {step_type.type}}}, {{id: even, type: respond, with: {{value: 1}}}}]\n"
    )

    assert (done.state, done.error) == ("succeeded", None)
    told = [event_type(event) for event in world.recorder.events]
    assert told == [
        *("command.execution.queued", "command.execution.started", "dsl.step.executed", "command.execution.completed")
    ]
    with world.pool.connection() as connection:  # the reconciler makes it of this
        rows = connection.execute("select count(*) from command_steps where event_id is not null").fetchone()
    assert rows == (2,)
