"""`command.run`: another command, as an execution of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field, JsonValue

from dsl.errors import ChildFailed
from dsl.step import Effect, Step, StepContext, StepParams, StepResult, child_output


class CommandRunParams(StepParams):
    """Parameters of `command.run`."""

    inputs: dict[str, JsonValue] = Field(default_factory=dict, description="Its inputs, as it declares them.")
    priority: int = Field(default=5, ge=0, le=9, description="0 is the most urgent, 9 the least.")


class CommandRunLiterals(StepParams):
    """What of `command.run` is never a template."""

    command: str = Field(min_length=1, max_length=100, description="Slug of the command.")
    await_: bool = Field(
        default=False, alias="await", description="Whether to wait for its end, and fail if it does not succeed."
    )


class CommandRun(Step):
    """Has another command run, for the same user and in the same space, as part of the same trace.

    The new execution is linked to this one: it `follows`, and runs on its own, or it is a `child`, which is waited for.
    It is accepted once for each try of the step, whatever happens. An execution that waits takes no worker's place.
    With `await` the step takes no `timeout`: give the command that is run one.
    Commands may run commands ten deep, and none may wait for itself.

    Output:
        {"execution_id": of the new execution, null in a dry run, "command": its slug, "inputs": as it gets them,
        "submitted": false in a dry run}; with `await`, {"execution_id", "command", "state", "result": its answer}.

    Raises:
        StepFailed: There is no such command, its file is faulty, the inputs are not what it declares, commands have
            run commands ten deep already, or it would wait for itself.
        ChildFailed: With `await`: the other execution did not succeed.

    Example:
        {id: more, type: command.run, with: {command: note.add, inputs: {content: "{{ inputs.body }}"}}}
    """

    type = "command.run"
    effect = Effect.DATABASE
    Params = CommandRunParams
    Literals = CommandRunLiterals
    waits_if: ClassVar = "await"

    def run(self, params: CommandRunParams, context: StepContext) -> StepResult:
        literals = CommandRunLiterals.model_validate(dict(context.spec.literals))
        if literals.await_:
            return self._await(literals.command, params, context)
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

    def _await(self, command: str, params: CommandRunParams, context: StepContext) -> StepResult:
        submitter, execution = context.tools.submitter, context.execution
        found = submitter.find(context.database(), execution, context.path, context.step_try)
        if found is None:
            child = submitter.prepare(
                context.database(), execution, command, params.inputs, link="child", priority=params.priority
            )
            child = replace(child, path=context.path, step_try=context.step_try)
            return StepResult(children=(child,), waits=True)
        if not found.is_final:
            return StepResult(waits=True)
        if found.state != "succeeded":
            raise ChildFailed(f"the command {command} has {found.state}", execution_id=str(found.id), state=found.state)
        return StepResult(child_output(command, found.id, found.state, found.result))
