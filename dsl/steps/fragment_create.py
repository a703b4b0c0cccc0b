"""`fragment.create`: a new built-in record."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, JsonValue

from dsl import fragments
from dsl.fragment_mutations import created
from dsl.records import MAX_CONTENT, MAX_TITLE, NAME
from dsl.step import Effect, Statement, Step, StepContext, StepParams, StepResult


class FragmentCreateParams(StepParams):
    """Parameters of `fragment.create`."""

    type: str = Field(pattern=f"^{NAME.pattern}$", description="What kind of record it is: `todo`, `note`, `digest`.")
    title: str = Field(default="", max_length=MAX_TITLE, description="One line.")
    content: str = Field(default="", max_length=MAX_CONTENT, description="The text.")
    state: dict[str, JsonValue] = Field(
        default_factory=dict, description="What commands track of it, such as {status: open}."
    )
    tags: list[str] = Field(default_factory=list, description="Words to find it by; each is kept once.")
    metadata: dict[str, JsonValue] = Field(default_factory=dict, description="Anything else that is known of it.")
    space: str | None = Field(
        default=None,
        pattern=f"^{NAME.pattern}$",
        description="Space it goes into, made if there is none of that name; by default the execution's.",
    )


class FragmentCreate(Step):
    """Stores a new fragment.

    Output:
        {"fragment_id": its id, "id": the same, "type", "title", "content", "state", "tags", "metadata", "space",
        "source": null, "created_at", "updated_at"}; ids and times as text (RFC 3339, UTC).

    Raises:
        RecordInvalid: A field is too long, or holds what Postgres cannot keep (a NUL character).

    Example:
        {id: add, type: fragment.create, with: {type: todo, title: "{{ inputs.body }}", state: {status: open}}}
    """

    type = "fragment.create"
    effect = Effect.DATABASE
    pipelined = True
    Params = FragmentCreateParams

    def only_adds(self, params: FragmentCreateParams) -> bool:
        return params.space is None  # another's id has to be looked up

    def run(self, params: FragmentCreateParams, context: StepContext) -> StepResult:
        space = fragments.Space(context.execution.space_id, context.execution.space)
        if params.space is not None and params.space != space.name:
            space = fragments.Space(fragments.space_id(context.database(), params.space), params.space)
        draft = fragments.Draft(
            type=params.type,
            title=params.title,
            content=params.content,
            state=params.state,
            tags=params.tags,
            metadata=params.metadata,
        )
        fragment, row = fragments.addition(draft, space, context.tools.now())
        # What a dry run creates is gone when anybody could look for it: its id would lead nowhere.
        lasting_id = None if context.execution.dry_run else fragment.id
        mutation = replace(created(fragment, context.tools.hash_content), entity_id=lasting_id)
        output = {"fragment_id": str(fragment.id), **fragment.to_json()}
        added = Statement(fragments.SQL["insert_fragment"], row)
        return StepResult(output, (mutation,), fragment_id=lasting_id, statements=(added,))
