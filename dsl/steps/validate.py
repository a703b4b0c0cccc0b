"""`validate`: rules that values must keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import jsonschema_rs
from pydantic import Field, JsonValue, field_validator

from dsl.errors import StepFailed
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.events import MAX_FAILED_FIELDS, FieldFault
from telemetry.events import Rule as RuleName

#: The engine without look-around and back-references: its time is linear in the text, whatever the pattern.
_LINEAR = jsonschema_rs.RegexOptions()


class Rule(StepParams):
    """One rule; every check it names must hold. A check that cannot be applied to the value is broken."""

    value: JsonValue = Field(
        description="What is checked. Null and the empty text break `required`, and are not looked at further."
    )
    required: bool = Field(default=False, description="Whether null and the empty text break the rule.")
    type: Literal["string", "integer", "number", "boolean", "array", "object"] | None = Field(
        default=None, description="JSON type the value must have."
    )
    pattern: str | None = Field(
        default=None,
        max_length=1000,
        description="Regular expression that a text must contain; anchor it with ^ and $. "
        "It runs in linear time, so it has neither look-around nor back-references.",
    )
    min: float | None = Field(
        default=None, description="Least number, or least length of a text, list or map; inclusive."
    )
    max: float | None = Field(
        default=None, description="Greatest number, or greatest length of a text, list or map; inclusive."
    )
    in_: list[JsonValue] | None = Field(default=None, alias="in", description="The values that are allowed.")
    message: str = Field(default="", description="Said to the person when the rule is broken.")

    @field_validator("pattern")
    @classmethod
    def _is_regular_expression(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=_LINEAR)
            except jsonschema_rs.ValidationError as error:
                message = "a regular expression without look-around and back-references"
                raise ValueError(message) from error
        return pattern

    def broken(self) -> Iterator[RuleName]:
        """Names of the checks the value does not pass, in the order of the fields above."""
        if self.value is None or self.value == "":
            if self.required:
                yield "required"
            return
        if self.type is not None and not _matches(self.value, {"type": self.type}):
            yield "type"
        if self.pattern is not None and not _matches(self.value, {"type": "string", "pattern": self.pattern}):
            yield "pattern"
        size = _size(self.value)
        if self.min is not None and (size is None or size < self.min):
            yield "min"
        if self.max is not None and (size is None or size > self.max):
            yield "max"
        if self.in_ is not None and not _matches(self.value, {"enum": self.in_}):
            yield "in"


class ValidateParams(StepParams):
    """Parameters of `validate`."""

    rules: list[Rule] = Field(description="What to check; all of them are, whatever the others say.")


class Validate(Step):
    """Fails when a value breaks a rule; the failure lists every broken check of every rule.

    Output:
        {"checked": how many rules}.

    Raises:
        StepFailed: Its facts hold `faults`: [{"index": of the rule, from 0, "rule": "required" | "type" | "pattern"
            | "min" | "max" | "in", "message": the rule's own}]; values are not repeated.

    Measures:
        faults: How many checks failed.

    Example:
        {id: check, type: validate, with: {rules: [
          {value: "{{ inputs.email }}", required: true, pattern: "^[^@ ]+@[^@ ]+$", message: "An e-mail address"}]}}
    """

    type = "validate"
    effect = Effect.NONE
    Params = ValidateParams

    def run(self, params: ValidateParams, context: StepContext) -> StepResult:
        broken = [(index, check) for index, rule in enumerate(params.rules) for check in rule.broken()]
        faults = [{"index": index, "rule": check, "message": params.rules[index].message} for index, check in broken]
        context.measures["faults"] = len(faults)
        if faults:
            listed = "; ".join(f"rules[{fault['index']}] {fault['rule']}: {fault['message']}" for fault in faults)
            failed = tuple(FieldFault(f"rules[{index}]", check) for index, check in broken[:MAX_FAILED_FIELDS])
            raise StepFailed(f"{len(faults)} check(s) failed: {listed}", faults=faults, failed_fields=failed)
        return StepResult({"checked": len(params.rules)}, measures=context.measures)


def _matches(value: JsonValue, schema: Mapping[str, Any]) -> bool:
    return jsonschema_rs.validator_for(dict(schema), pattern_options=_LINEAR).is_valid(value)


def _size(value: JsonValue) -> float | None:
    """What `min` and `max` compare; none for what has no size."""
    if isinstance(value, bool) or value is None:
        return None
    return value if isinstance(value, int | float) else len(value)
