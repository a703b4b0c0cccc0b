"""`fragment.update`: changes to a built-in record."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field, JsonValue

from dsl import fragments
from dsl.fragment_mutations import updated
from dsl.records import MAX_CONTENT, MAX_TITLE, NAME
from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class FragmentUpdateParams(StepParams):
    """Parameters of `fragment.update`; what is absent or null is left alone."""

    id: UUID = Field(strict=False, description="The fragment.")
    type: str | None = Field(default=None, pattern=f"^{NAME.pattern}$", description="Its new type.")
    title: str | None = Field(default=None, max_length=MAX_TITLE, description="Its new title.")
    content: str | None = Field(default=None, max_length=MAX_CONTENT, description="Its new text.")
    state: dict[str, JsonValue] | None = Field(
        default=None, description="Merged into its state (JSON merge patch, RFC 7396): null removes a key."
    )
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Merged into its metadata likewise.")
    tags: list[str] | None = Field(default=None, description="Replaces its tags.")
    add_tags: list[str] = Field(default_factory=list, description="Tags to add; those it has stay as they are.")
    remove_tags: list[str] = Field(default_factory=list, description="Tags to take away, after adding.")


class FragmentUpdate(Step):
    """Changes a fragment under its row lock; a change that changes nothing is no mutation.

    Output:
        {"fragment_id": its id, "changed": [names of the fields that differ now]}.

    Raises:
        FragmentNotFound: No fragment has this id.
        RecordInvalid: A field is too long, or holds what Postgres cannot keep (a NUL character).

    Measures:
        fields: How many fields changed.

    Example:
        {id: done, type: fragment.update, with: {id: "{{ inputs.id }}", state: {status: done}, remove_tags: [inbox]}}
    """

    type = "fragment.update"
    effect = Effect.DATABASE
    pipelined = True
    Params = FragmentUpdateParams

    def run(self, params: FragmentUpdateParams, context: StepContext) -> StepResult:
        change = fragments.Change(
            type=params.type,
            title=params.title,
            content=params.content,
            state=params.state,
            metadata=params.metadata,
            tags=params.tags,
            add_tags=params.add_tags,
            remove_tags=params.remove_tags,
        )
        changed = fragments.update(context.database(), params.id, change, context.tools.now())
        output = {"fragment_id": str(params.id), "changed": list(changed.fields)}
        mutations = updated(changed, context.tools.hash_content)
        return StepResult(output, mutations, fragment_id=params.id, measures={"fields": len(changed.fields)})
