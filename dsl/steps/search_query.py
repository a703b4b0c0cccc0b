"""`search.query`: built-in records by the words in them."""

from __future__ import annotations

from pydantic import Field

from dsl.fragment_filter import FragmentFilterParams
from dsl.fragment_search import MAX_TEXT, search
from dsl.step import Effect, Step, StepContext, StepResult


class SearchQueryParams(FragmentFilterParams):
    """Parameters of `search.query`; what is absent, null or empty does not filter."""

    text: str = Field(
        max_length=MAX_TEXT,
        description='What to look for, as in a search engine: all words, `"words next to each other"`, `this or that`, '
        "`-without`. Upper and lower case are alike.",
    )
    prefix: bool = Field(
        default=True, description="Whether a word also finds longer ones that begin with it; quoted words never do."
    )
    limit: int = Field(default=20, ge=1, description="How many at most; bounded by WEIR_DSL_QUERY_MAX_ROWS.")


class SearchQuery(Step):
    """Finds fragments of one space by the words of their titles and contents, best first.

    A word in a title counts more than one in a content. Of a content, the first 100,000 characters are searched.

    Output:
        {"items": [{"id", "type", "title", "tags", "snippet": parts of the content with the words found between `**`,
        "rank": how well it fits, "created_at", "updated_at"}], "count": how many}.

    Raises:
        StepFailed: `limit` is more than WEIR_DSL_QUERY_MAX_ROWS.
        RecordInvalid: The text holds what Postgres cannot keep (a NUL character).

    Measures:
        rows: How many fragments came back.

    Example:
        {id: found, type: search.query, with: {text: "{{ inputs.body }}", type: note, limit: 5}}
    """

    type = "search.query"
    effect = Effect.READS
    Params = SearchQueryParams

    def run(self, params: SearchQueryParams, context: StepContext) -> StepResult:
        items = search(
            context.database(),
            params.text,
            params.filter(context.execution),
            limit=context.limit(params.limit),
            prefix=params.prefix,
        )
        return StepResult({"items": items, "count": len(items)}, measures={"rows": len(items)})
