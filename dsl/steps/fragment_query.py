"""`fragment.query`: built-in records that fit."""

from __future__ import annotations

from pydantic import Field

from dsl import fragments
from dsl.fragment_filter import FragmentFilterParams
from dsl.fragment_selection import FIELDS, Order
from dsl.fragment_selection import Field as FieldName
from dsl.step import Effect, Step, StepContext, StepResult


class FragmentQueryParams(FragmentFilterParams):
    """Parameters of `fragment.query`; what is absent, null or empty does not filter."""

    text: str | None = Field(
        default=None, max_length=1000, description="In their title or content; upper and lower case alike."
    )
    order: Order = Field(default="newest", description="`newest` or `oldest` by creation, `updated` by last change.")
    limit: int = Field(default=100, ge=1, description="How many at most; bounded by WEIR_DSL_QUERY_MAX_ROWS.")
    fields: list[FieldName] = Field(
        default_factory=lambda: list(FIELDS),
        description="What is wanted of each; `id` always comes. All of them by default, except `excerpt`, the first "
        "500 characters of the content.",
    )


class FragmentQuery(Step):
    """Finds fragments of one space.

    Output:
        {"items": [{"id", ... the fields asked for}], "count": how many}; ids and times as text (RFC 3339, UTC).

    Raises:
        StepFailed: `limit` is more than WEIR_DSL_QUERY_MAX_ROWS.

    Measures:
        rows: How many fragments came back.

    Example:
        {id: open, type: fragment.query, with: {type: todo, state: {status: open}, since: 7d, fields: [title]}}
    """

    type = "fragment.query"
    effect = Effect.READS
    Params = FragmentQueryParams

    def run(self, params: FragmentQueryParams, context: StepContext) -> StepResult:
        items = fragments.query(
            context.database(),
            params.filter(context.execution, text=params.text),
            order=params.order,
            limit=context.limit(params.limit),
            fields=params.fields,
        )
        return StepResult({"items": items, "count": len(items)}, measures={"rows": len(items)})
