"""`model.delete`: removes rows of a declared table."""

from __future__ import annotations

from dsl.errors import StepFailed
from dsl.step import Effect, StepContext, StepResult
from dsl.table_statements import delete_rows
from dsl.table_step import RowsParams, TableStep, changed, row_limit


class ModelDeleteParams(RowsParams):
    """Parameters of `model.delete`."""


class ModelDelete(TableStep):
    """Removes one row of a declared table by its key, or every row that fits.

    Output:
        {"count": how many, "keys": [their keys]}.

    Raises:
        StepFailed: No row has this key, more rows fit than `limit`, rows of the table may not be removed, a name is not
            declared, or a rule of the table is broken. Nothing was removed then.

    Measures:
        rows: How many were removed.
        model: The table.

    Example:
        {id: purge, type: model.delete, with: {table: fragments, where: [
          {column: state, op: contains, value: {status: archived}}, {column: updated_at, op: lt, value: 365d}]}}
    """

    type = "model.delete"
    effect = Effect.DATABASE
    Params = ModelDeleteParams

    def run(self, params: ModelDeleteParams, context: StepContext) -> StepResult:
        with self.using(params, context) as (opened, scene):
            table = opened.table
            where, limit = params.conditions(table), row_limit(table, params.limit)
            keys = delete_rows(context.database(), opened, scene, where=where, limit=limit)
        if params.key is not None and not keys:
            raise StepFailed(f"no row of the table {table.name} has this key", table=table.name)
        return changed(table, "deleted", keys)
