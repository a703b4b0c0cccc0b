"""A run that was taken for lost, and is not, goes on in the same process as the attempt that took its place."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import ClassVar

from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from workers.testing import World

#: Longer than this nothing here takes.
PATIENCE_S = 10


class Slow(Step):
    """Ends when it is told to: one attempt after the other."""

    type = "slow"
    effect = Effect.NONE
    Params = StepParams
    begun: ClassVar[list[threading.Event]]
    go_on: ClassVar[list[threading.Event]]

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        turn = next(number for number, event in enumerate(Slow.begun) if not event.is_set())
        Slow.begun[turn].set()
        assert Slow.go_on[turn].wait(PATIENCE_S)
        return StepResult(turn)


def test_the_end_of_an_overtaken_run_does_not_end_the_one_that_overtook_it(world: World) -> None:
    world.step_types[Slow.type] = Slow()
    Slow.begun = [threading.Event(), threading.Event()]
    Slow.go_on = [threading.Event(), threading.Event()]
    execution_id = world.submit(world.load("slug: slow\nsteps: [{id: one, type: slow}]"))
    runner = world.runner()
    overtaken, overtaking = (threading.Thread(target=runner.run_lane, args=("default",), daemon=True) for _ in range(2))
    overtaken.start()
    assert Slow.begun[0].wait(PATIENCE_S)
    world.lose_worker()
    world.reaper(lease=timedelta()).run_once()
    overtaking.start()
    assert Slow.begun[1].wait(PATIENCE_S)

    Slow.go_on[0].set()
    overtaken.join(PATIENCE_S)
    assert [run.fence.claim.attempt for run in world.watch.left()] == [2]
    Slow.go_on[1].set()
    overtaking.join(PATIENCE_S)

    execution = world.executions.get(execution_id)
    assert (execution.state, execution.attempt, execution.result) == ("succeeded", 2, 1)
    assert world.recorder.types.count("command.execution.completed") == 1
