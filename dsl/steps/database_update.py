"""`database.update`: one update statement on a declared table."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dsl.step import Effect, StepContext, StepResult
from dsl.table_statements import update_rows
from dsl.table_step import MAX_CONDITIONS, Condition, TableParams, TableStep, changed, conditions_of, row_limit


class DatabaseUpdateParams(TableParams):
    """Parameters of `database.update`."""

    set: dict[str, JsonValue] = Field(
        min_length=1, description="New value by writable column; the columns are never templates."
    )
    where: list[Condition] = Field(
        min_length=1,
        max_length=MAX_CONDITIONS,
        description="Which rows: `[{column, op, value}]`, all of which must hold. There is no update without.",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="When more rows fit, none is changed and the step fails; by default the `max_rows` of the table.",
    )


class DatabaseUpdate(TableStep):
    """Changes every row of a declared table that fits, in one statement. The affected rows are its mutations.

    Output:
        {"count": how many, "keys": [their keys]}.

    Raises:
        StepFailed: More rows fit than `limit`, a name is not declared, a value cannot be one of its column, or a rule
            of the table is broken. Nothing was changed then.

    Measures:
        rows: How many were changed.
        fields: How many columns were set.
        model: The table.

    Example:
        {id: archive, type: database.update, with: {table: fragments, set: {state: {status: archived}}, where: [
          {column: type, value: todo}, {column: state, op: contains, value: {status: done}}]}}
    """

    type = "database.update"
    effect = Effect.DATABASE
    Params = DatabaseUpdateParams

    def run(self, params: DatabaseUpdateParams, context: StepContext) -> StepResult:
        with self.using(params, context) as (opened, scene):
            table = opened.table
            where, limit = conditions_of(params.where), row_limit(table, params.limit)
            keys = update_rows(context.database(), opened, scene, values=params.set, where=where, limit=limit)
        return changed(table, "updated", keys, tuple(params.set))
