"""`list.map`: the same steps for each item of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from dsl.errors import StepFailed
from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class ListMapParams(StepParams):
    """Parameters of `list.map`."""

    items: list[JsonValue] = Field(description="The list; kept in the ledger before the first child runs.")


class ListMapLiterals(StepParams):
    """What of `list.map` is never a template."""

    as_: str = Field(
        default="item",
        alias="as",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="Name of the current item inside `do`.",
    )
    on_error: Literal["stop", "continue"] = Field(
        default="stop",
        description="`stop` fails with the first item that fails; `continue` counts it and goes on.",
    )


class ListMap(Step):
    """Runs `do` for each item in order; the list is frozen before the first child runs.

    Inside `do` the current item has the name given by `as`, and `loop` holds {index (from 1), index0, first, last,
    length}. Maps may be nested: the inner one's names hide the outer one's.

    Blocks:
        do: Steps to run for each item.

    Output:
        {"items": how many, "succeeded": how many, "failed": how many, "results": [output of the last step that ran
        for each item, in order; null for one that failed]}.

    Raises:
        StepFailed: More items than WEIR_DSL_MAX_MAP_ITEMS.
        Exception: With `on_error: stop`, what the failed item's step raised, unchanged.

    Measures:
        items: How many there were.
        succeeded: How many went well.
        failed: How many did not.

    Example:
        {id: each, type: list.map, with: {items: "{{ inputs.names }}", as: name, do: [
          {id: hi, type: transform, with: {template: "Hello {{ name }}"}}]}}
    """

    type = "list.map"
    effect = Effect.CHILDREN
    Params = ListMapParams
    blocks: ClassVar = {"do": True}
    Literals = ListMapLiterals

    def run(self, params: ListMapParams, context: StepContext) -> StepResult:
        children = context.nested()
        literals = ListMapLiterals.model_validate(dict(context.spec.literals))
        if len(params.items) > context.tools.max_map_items:
            raise StepFailed(
                f"{len(params.items)} items; list.map takes at most {context.tools.max_map_items}",
                hint="Query fewer at a time, or raise WEIR_DSL_MAX_MAP_ITEMS.",
            )
        items = children.freeze(params.items)
        counts = {"items": len(items), "succeeded": 0, "failed": 0}
        results: list[object] = []
        for index, item in enumerate(items):
            names = {literals.as_: item, "loop": _loop(index, len(items))}
            goes_on = literals.on_error == "continue"
            result = children.run(context.spec.blocks["do"], index=index, names=names, settles=goes_on)
            counts["failed" if result.failed else "succeeded"] += 1
            context.measures.update(counts)
            if result.error is not None and literals.on_error == "stop":
                raise result.error
            results.append(None if result.failed else result.last)
        return StepResult({**counts, "results": results}, measures=counts)


def _loop(index: int, length: int) -> Mapping[str, object]:
    """What Liquid's own `for` would call `forloop`."""
    return {
        "index": index + 1,
        "index0": index,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
    }
