"""`respond`: the result the caller gets."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class RespondParams(StepParams):
    """Parameters of `respond`."""

    value: JsonValue = Field(description="Any value: what the caller gets.")


class Respond(Step):
    """Sets the result of the execution; where several run, the last one counts.

    Output:
        The value itself.

    Example:
        {id: answer, type: respond, with: {value: {added: "{{ steps.create.output.fragment_id }}"}}}
    """

    type = "respond"
    effect = Effect.NONE
    Params = RespondParams

    def run(self, params: RespondParams, context: StepContext) -> StepResult:
        return StepResult(params.value)
