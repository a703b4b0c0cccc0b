"""`model.query`: rows of a declared table."""

from __future__ import annotations

from pydantic import Field

from dsl.step import Effect, StepContext, StepResult
from dsl.table_statements import Order, select_rows
from dsl.table_step import (
    MAX_CONDITIONS,
    Condition,
    Sorting,
    TableParams,
    TableStep,
    conditions_of,
    measures_of,
    row_limit,
)


class ModelQueryParams(TableParams):
    """Parameters of `model.query`."""

    fields: list[str] = Field(default_factory=list, description="Columns that are wanted; by default all readable.")
    where: list[Condition] = Field(
        default_factory=list,
        max_length=MAX_CONDITIONS,
        description="Which rows: `[{column, op, value}]`, all of which must hold; by default any.",
    )
    order: list[Sorting] = Field(
        default_factory=list, max_length=10, description="What they are sorted by; then by their key."
    )
    limit: int | None = Field(
        default=None, ge=1, description="How many at most; by default, and never more than, the table's `max_rows`."
    )


class ModelQuery(TableStep):
    """Finds rows of a declared table.

    Output:
        {"items": [{column: value, ...}], "count": how many}; values as JSON, times as text (ISO 8601, UTC).

    Raises:
        StepFailed: A name is not declared, a value cannot be one of its column, or `limit` is more than `max_rows`.

    Measures:
        rows: How many came back.
        model: The table.

    Example:
        {id: stale, type: model.query, with: {table: fragments, fields: [id, title], where: [
          {column: updated_at, op: lt, value: 90d}], order: [{column: updated_at}], limit: 20}}
    """

    type = "model.query"
    effect = Effect.READS
    Params = ModelQueryParams

    def run(self, params: ModelQueryParams, context: StepContext) -> StepResult:
        with self.using(params, context) as (opened, scene):
            items = select_rows(
                context.database(),
                opened,
                scene,
                columns=params.fields,
                where=conditions_of(params.where),
                order=[Order(each.column, descending=each.direction == "desc") for each in params.order],
                limit=row_limit(opened.table, params.limit),
            )
            measures = measures_of(opened.table, len(items))
        return StepResult({"items": items, "count": len(items)}, measures=measures)
