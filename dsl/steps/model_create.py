"""`model.create`: a new row of a declared table."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dsl.step import Effect, StepContext, StepResult
from dsl.table_statements import insert_row
from dsl.table_step import TableParams, TableStep, measures_of, mutations_of


class ModelCreateParams(TableParams):
    """Parameters of `model.create`."""

    values: dict[str, JsonValue] = Field(
        min_length=1,
        description="Value by writable column; the columns are never templates. Lists and maps are for "
        "columns of arrays and JSON.",
    )


class ModelCreate(TableStep):
    """Adds a row to a declared table.

    Output:
        {"key": value of the key column, "row": {readable column: value, ...}}.

    Raises:
        StepFailed: A name is not declared, a value cannot be one of its column, or a rule of the table is broken.

    Measures:
        rows: 1.
        model: The table.

    Example:
        {id: plan, type: model.create, with: {table: tasks, values: {title: "{{ inputs.body }}", done: false}}}
    """

    type = "model.create"
    effect = Effect.DATABASE
    Params = ModelCreateParams

    def run(self, params: ModelCreateParams, context: StepContext) -> StepResult:
        with self.using(params, context) as (opened, _):
            row = insert_row(context.database(), opened, params.values)
        table, key = opened.table, row[opened.table.key]
        mutations = mutations_of(table, "created", [key], tuple(params.values))
        return StepResult({"key": key, "row": row}, mutations, measures=measures_of(table, 1))
