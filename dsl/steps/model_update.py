"""`model.update`: changes to rows of a declared table."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dsl.errors import StepFailed
from dsl.step import Effect, StepContext, StepResult
from dsl.table_statements import update_rows
from dsl.table_step import RowsParams, TableStep, changed, row_limit


class ModelUpdateParams(RowsParams):
    """Parameters of `model.update`."""

    set: dict[str, JsonValue] = Field(
        min_length=1, description="New value by writable column; the columns are never templates."
    )


class ModelUpdate(TableStep):
    """Changes one row of a declared table by its key, or every row that fits.

    Output:
        {"count": how many, "keys": [their keys]}.

    Raises:
        StepFailed: No row has this key, more rows fit than `limit`, a name is not declared, a value cannot be one of
            its column, or a rule of the table is broken. Nothing was changed then.

    Measures:
        rows: How many were changed.
        fields: How many columns were set.
        model: The table.

    Example:
        {id: finish, type: model.update, with: {table: tasks, key: "{{ inputs.id }}", set: {done: true}}}
    """

    type = "model.update"
    effect = Effect.DATABASE
    Params = ModelUpdateParams

    def run(self, params: ModelUpdateParams, context: StepContext) -> StepResult:
        with self.using(params, context) as (opened, scene):
            table = opened.table
            where, limit = params.conditions(table), row_limit(table, params.limit)
            keys = update_rows(context.database(), opened, scene, values=params.set, where=where, limit=limit)
        if params.key is not None and not keys:
            raise StepFailed(f"no row of the table {table.name} has this key", table=table.name)
        return changed(table, "updated", keys, tuple(params.set))
