"""What may be said of an exception: to telemetry almost nothing, to the execution's owner everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic

from dsl.errors import CommandInvalid, InputsInvalid
from dsl.failed_fields import failed_fields_of
from telemetry.errors import WeirError
from telemetry.events import ErrorFacts
from telemetry.privacy import error_facts, frames

#: Characters of a message that are kept.
MAX_MESSAGE = 4000


class KeptError(Exception):
    """What an earlier attempt failed with, as it was kept: `details` of `Failures`."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(str(details.get("message", "")))
        self.details = details


class Failures:
    """The `dsl.instrumentation.DescribeError` of a worker."""

    def facts(self, error: BaseException) -> ErrorFacts:
        """Class, category, fingerprint; never the message."""
        if isinstance(error, KeptError):
            kept = error.details
            return ErrorFacts(kept["type"], kept["category"], bytes.fromhex(kept["fingerprint"]))
        return error_facts(error)

    def details(self, error: BaseException) -> dict[str, Any]:
        """The message too, and what the error knows of itself; JSON-able, and storable by Postgres.

        Keys: type, category, fingerprint, message, frames; code and hint where it has them; faults of what did not
        validate, and failed_fields, which is what telemetry knows of those.
        """
        if isinstance(error, KeptError):
            return dict(error.details)
        facts = error_facts(error)
        details: dict[str, Any] = {
            "type": facts.error_type,
            "category": facts.error_category,
            "fingerprint": facts.error_fingerprint.hex(),
            "message": _message(error),
            "frames": frames(error),
        }
        if isinstance(error, WeirError):
            details["code"] = error.code
            if error.hint:
                details["hint"] = error.hint
        faults = _faults(error)
        if faults:
            details["faults"] = faults
        fields = failed_fields_of(error)
        if fields:
            details["failed_fields"] = [{"field": each.field, "rule": each.rule} for each in fields]
        kept: dict[str, Any] = _all_storable(details)
        return kept


def storable(text: str) -> str:
    """A text as Postgres can keep it in jsonb: no NUL, no lone surrogates, not endless."""
    return text[:MAX_MESSAGE].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _all_storable(value: Any) -> Any:  # noqa: ANN401 - any JSON-able value
    """A JSON-able value whose every text, keys included, is storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): _all_storable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all_storable(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float)) else storable(str(value))


def _message(error: BaseException) -> str:
    if isinstance(error, pydantic.ValidationError):
        return f"{error.error_count()} parameter(s) of the step are wrong"
    return str(error) or type(error).__name__


def _faults(error: BaseException) -> list[Any]:
    if isinstance(error, pydantic.ValidationError):
        return [
            {
                "path": "with." + ".".join(str(part) for part in fault["loc"]),
                # What pydantic puts before the words of our own validators says nothing to whoever wrote the command.
                "message": fault["msg"].removeprefix("Value error, "),
                "code": f"step.{fault['type']}",
            }
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    if isinstance(error, (CommandInvalid, InputsInvalid)):
        faults: list[Any] = msgspec.to_builtins(list(error.faults))
        return faults
    if isinstance(error, WeirError) and isinstance(error.facts.get("faults"), list):
        known: list[Any] = error.facts["faults"]  # type: ignore[assignment]
        return known
    return []
