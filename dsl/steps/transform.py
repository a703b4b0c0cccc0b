"""`transform`: a template becomes a value."""

from __future__ import annotations

import json
from typing import Literal, NoReturn

from pydantic import Field, JsonValue

from dsl.errors import StepFailed
from dsl.step import Effect, Step, StepContext, StepParams, StepResult


class TransformParams(StepParams):
    """Parameters of `transform`."""

    template: JsonValue = Field(
        description="What to make: a text, a list or a map, with templates anywhere in it. "
        "A text that is one whole `{{ expression }}` keeps the type of its value."
    )
    format: Literal["text", "json"] | None = Field(
        default=None,
        description="`text` turns the value into text (null into nothing, what is not text into JSON), `json` parses "
        "a text as JSON; without it the value stays as it is.",
    )


class Transform(Step):
    """Turns a template into text, or into a value parsed from JSON.

    Output:
        The value itself: text, number, boolean, list, map or null.

    Example:
        {id: line, type: transform, with: {template: "{{ inputs.body | strip | truncate: 80 }}"}}
    """

    type = "transform"
    effect = Effect.NONE
    Params = TransformParams

    def run(self, params: TransformParams, context: StepContext) -> StepResult:
        value = params.template
        if params.format == "text" and not isinstance(value, str):
            return StepResult("" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        if params.format == "json" and isinstance(value, str):
            return StepResult(_parse(value))
        return StepResult(value)


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise StepFailed(
            f"the text is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint="Text values inside a JSON template need the filter `to_json`.",
        ) from error
    except RecursionError as error:
        raise StepFailed("the JSON text is nested too deeply") from error


def _refuse(constant: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; JSON has neither."""
    raise StepFailed(f"the text is not JSON: {constant} is not a JSON number")
