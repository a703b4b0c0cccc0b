"""Step types of the load: what fails so many times, and what takes its time."""

from __future__ import annotations

import time

from pydantic import Field

from dsl.step import Effect, Mutation, Step, StepContext, StepParams, StepResult


class FlakyParams(StepParams):
    """Parameters of `chaos.flaky`."""

    fails: int = Field(ge=0, description="Tries that fail before one succeeds.")


class Flaky(Step):
    """Fails as often as it is told, then succeeds.

    Output:
        {"tries": how many there were}.

    Raises:
        ConnectionError: It is not time yet.

    Example:
        {id: try, type: chaos.flaky, retry: {max_attempts: 3}, with: {fails: 2}}
    """

    type = "chaos.flaky"
    effect = Effect.NONE
    Params = FlakyParams

    def run(self, params: FlakyParams, context: StepContext) -> StepResult:
        if context.step_try <= params.fails:
            raise ConnectionError("not yet")
        return StepResult({"tries": context.step_try})


class FlakyWriteParams(FlakyParams):
    """Parameters of `chaos.write`."""

    token: str = Field(description="What the row is known by.")


class FlakyWrite(Step):
    """Adds a row to `chaos.rows`, and then fails as often as it is told, so that the row is taken back.

    Output:
        {"tries": how many there were}.

    Raises:
        ConnectionError: It is not time yet.

    Example:
        {id: write, type: chaos.write, retry: {max_attempts: 2}, with: {token: "{{ inputs.token }}", fails: 1}}
    """

    type = "chaos.write"
    effect = Effect.DATABASE
    Params = FlakyWriteParams

    def run(self, params: FlakyWriteParams, context: StepContext) -> StepResult:
        context.database().execute("insert into chaos.rows (token) values (%(token)s)", {"token": params.token})
        if context.step_try <= params.fails:
            raise ConnectionError("not yet")
        return StepResult({"tries": context.step_try}, (Mutation("rows", "created", None, ("token",)),))


class LingerParams(StepParams):
    """Parameters of `chaos.linger`."""

    ms: int = Field(ge=0, le=60_000, description="How long.")


class Linger(Step):
    """Takes its time.

    Output:
        null.

    Example:
        {id: wait, type: chaos.linger, with: {ms: 100}}
    """

    type = "chaos.linger"
    effect = Effect.NONE
    Params = LingerParams

    def run(self, params: LingerParams, context: StepContext) -> StepResult:
        until = time.monotonic() + params.ms / 1000
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))  # an interrupt arrives between two of these
        return StepResult()
