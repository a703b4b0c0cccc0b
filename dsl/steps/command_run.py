"""`command.run`: another command, as an execution of its own."""

from __future__ import annotations

from pydantic import Field, JsonValue, field_validator

from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class CommandRunParams(StepParams):
    """Parameters of `command.run`."""

    inputs: dict[str, JsonValue] = Field(default_factory=dict, description="Its inputs, as it declares them.")
    priority: int = Field(default=5, ge=0, le=9, description="0 is the most urgent, 9 the least.")


class CommandRunLiterals(StepParams):
    """What of `command.run` is never a template."""

    command: str = Field(min_length=1, max_length=100, description="Slug of the command.")
    await_: bool = Field(
        default=False, alias="await", description="Must be false: commands run on their own, nobody waits for them."
    )

    @field_validator("await_")
    @classmethod
    def _is_false(cls, wanted: bool) -> bool:
        if wanted:
            message = "false: a command cannot be waited for yet, and without `await` it runs on its own"
            raise ValueError(message)
        return wanted


class CommandRun(Step):
    """Has another command run on its own, for the same user and in the same space, as part of the same trace.

    The new execution is linked to this one (`follows`). It is accepted together with the result of the step, or not at
    all: never twice, whatever happens. Commands may run commands ten deep.

    Output:
        {"execution_id": of the new execution, null in a dry run, "command": its slug, "inputs": as it gets them,
        "submitted": false in a dry run}.

    Raises:
        StepFailed: There is no such command, its file is faulty, the inputs are not what it declares, or commands have
            run commands ten deep already.

    Example:
        {id: more, type: command.run, with: {command: note.add, inputs: {content: "{{ inputs.body }}"}}}
    """

    type = "command.run"
    effect = Effect.DATABASE
    Params = CommandRunParams
    Literals = CommandRunLiterals

    def run(self, params: CommandRunParams, context: StepContext) -> StepResult:
        literals = CommandRunLiterals.model_validate(dict(context.spec.literals))
        execution = context.execution
        child = context.tools.submitter.prepare(
            context.database(), execution, literals.command, params.inputs, link="follows", priority=params.priority
        )
        output = {
            "execution_id": None if execution.dry_run else str(child.id),
            "command": literals.command,
            "inputs": dict(child.inputs),
            "submitted": not execution.dry_run,
        }
        return StepResult(output, children=() if execution.dry_run else (child,))
