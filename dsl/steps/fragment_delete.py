"""`fragment.delete`: removes built-in records."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from dsl import fragments
from dsl.errors import FragmentNotFound
from dsl.fragment_filter import FragmentFilterParams
from dsl.fragment_mutations import deleted
from dsl.step import Effect, Step, StepContext, StepResult


class FragmentDeleteParams(FragmentFilterParams):
    """Parameters of `fragment.delete`: `id`, or a filter as that of `fragment.query` with a `limit`."""

    id: UUID | None = Field(default=None, strict=False, description="The fragment; then nothing else is given.")
    text: str | None = Field(
        default=None, max_length=1000, description="In their title or content; upper and lower case alike."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="How many at most, the oldest first; needed with a filter, bounded by WEIR_DSL_QUERY_MAX_ROWS.",
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.id is not None:
            if self._narrows() or self.limit is not None:
                message = "`id` says which one: neither a filter nor a limit goes with it"
                raise ValueError(message)
        elif self.limit is None:
            message = "either `id`, or a filter and a `limit`"
            raise ValueError(message)
        elif not self._narrows():
            message = "a filter beside `space` and `limit`: to remove everything, say so with `until: 0s`"
            raise ValueError(message)
        return self

    def _narrows(self) -> bool:
        given = (self.type, self.tags, self.without_tags, self.text, self.state, self.since, self.until)
        return any(given)


class FragmentDelete(Step):
    """Removes one fragment, or the oldest of those of one space that fit.

    Output:
        {"deleted": how many, "ids": [their ids]}.

    Raises:
        FragmentNotFound: No fragment has this id. A filter that fits none deletes none.
        StepFailed: `limit` is more than WEIR_DSL_QUERY_MAX_ROWS.

    Measures:
        rows: How many fragments were removed.

    Example:
        {id: tidy, type: fragment.delete, with: {type: digest, until: 90d, limit: 100}}
    """

    type = "fragment.delete"
    effect = Effect.DATABASE
    pipelined = True
    Params = FragmentDeleteParams

    def run(self, params: FragmentDeleteParams, context: StepContext) -> StepResult:
        connection = context.database()
        if params.id is not None:
            ids = [params.id]
        else:
            which = params.filter(context.execution, text=params.text)
            ids = fragments.lock(connection, which, limit=context.limit(params.limit or 1))
        mutations = tuple(
            deleted(fragment, context.tools.hash_content) for fragment in fragments.delete(connection, ids)
        )
        if params.id is not None and not mutations:
            raise FragmentNotFound(f"no fragment {params.id}", fragment_id=str(params.id))
        output = {"deleted": len(mutations), "ids": [str(mutation.entity_id) for mutation in mutations]}
        return StepResult(output, mutations, fragment_id=params.id, measures={"rows": len(mutations)})
