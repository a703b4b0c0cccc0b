"""`condition`: one of two lists of steps."""

from __future__ import annotations

from typing import ClassVar

from dsl.command import StepSpec
from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class ConditionParams(StepParams):
    """Parameters of `condition`: none besides its condition and its blocks."""


class Condition(Step):
    """Runs `then` when its `if` is true, else `else`; the branch not taken is recorded as skipped.

    Blocks:
        then: Steps to run when the condition is true.
        else: Steps to run when it is false.

    Output:
        {"branch": "then" | "else" | "none", "output": output of the last step that ran, or null}.
        `none`: the condition was false and there is no `else`.

    Raises:
        Exception: What the failed step of the branch raised, unchanged.

    Measures:
        branch: Which was taken: `then`, `else` or `none`.

    Example:
        {id: check, type: condition, with: {if: "inputs.n > 3", then: [{id: big, type: respond, with: {value: big}}]}}
    """

    type = "condition"
    effect = Effect.CHILDREN
    Params = ConditionParams
    blocks: ClassVar = {"then": True, "else": False}
    conditions: ClassVar = ("if",)

    def run(self, params: ConditionParams, context: StepContext) -> StepResult:
        children = context.nested()
        is_true = bool(children.evaluate("if"))
        branch = "then" if is_true else "else" if self._block(context, "else") else "none"
        context.measures["branch"] = branch
        children.skip(self._block(context, "else" if is_true else "then"))
        if branch == "none":
            return StepResult({"branch": branch, "output": None}, measures=context.measures)
        result = children.run(self._block(context, branch))
        if result.error is not None:
            raise result.error
        return StepResult({"branch": branch, "output": result.last}, measures=context.measures)

    @staticmethod
    def _block(context: StepContext, name: str) -> tuple[StepSpec, ...]:
        return context.spec.blocks.get(name, ())
