"""The key that executions of a command are counted by, rendered when one is submitted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsl.command import Command, ExecutionInfo
from dsl.errors import ConcurrencyKeyInvalid, ExpressionError
from dsl.plan import Plan
from dsl.values import canonical_json

#: Characters of a rendered key.
MAX_KEY = 500


def concurrency_key(command: Command, info: ExecutionInfo, inputs: Mapping[str, Any]) -> str | None:
    """The key of one execution; none if the command has no limit, empty if all its executions are counted together.

    Args:
        command: Whose `concurrency` it is.
        info: The execution to be; its `now` is when it is submitted.
        inputs: Checked, with defaults.

    Raises:
        ConcurrencyKeyInvalid: The template cannot be evaluated, or makes a text that cannot be a key.
    """
    if command.concurrency is None:
        return None
    if command.concurrency.key is None:
        return ""
    try:
        value = command.concurrency.key.evaluate(Plan.of(command, info, inputs).names)
    except ExpressionError as error:
        raise ConcurrencyKeyInvalid(
            f"the concurrency key of {command.slug} cannot be evaluated: {error.detail}", hint=error.hint
        ) from error
    key = value if isinstance(value, str) else canonical_json(value).decode()
    if len(key) > MAX_KEY or "\0" in key:
        raise ConcurrencyKeyInvalid(
            f"the concurrency key of {command.slug} has {len(key)} characters",
            hint=f"At most {MAX_KEY}, none of them NUL.",
        )
    return key
