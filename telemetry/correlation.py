"""Who caused what: reading correlation ids that come from outside, and naming them in every log line."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from uuid import UUID

from structlog.contextvars import bound_contextvars

_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: W3C Trace Context § 3.2: version, trace-id, parent-id, flags; later versions may append fields.
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)
_NOBODY = UUID(int=0)


def parse_correlation_id(text: str | None) -> UUID | None:
    """A UUID or 32 hexadecimal digits; None for anything else, and for the id of zeros.

    What is refused is not shortened, hashed or kept: the caller mints a new id and returns that.
    """
    if text is None or _ID.fullmatch(text) is None:
        return None
    found = UUID(text)
    return None if found == _NOBODY else found


def parse_traceparent(text: str | None) -> UUID | None:
    """The trace-id of a W3C `traceparent` header; None if it is not valid by that standard."""
    match = _TRACEPARENT.fullmatch(text) if text is not None else None
    if match is None or match["version"] == "ff" or int(match["parent"], 16) == 0:
        return None
    if match["version"] == "00" and match["more"] is not None:
        return None
    return parse_correlation_id(match["trace"])


def read_correlation_id(correlation_id: str | None, traceparent: str | None) -> UUID | None:
    """The id a caller gave, by its `X-Correlation-ID` header or else its `traceparent`; None if neither is valid."""
    return parse_correlation_id(correlation_id) or parse_traceparent(traceparent)


def bind(
    *, correlation_id: UUID | None = None, execution_id: UUID | None = None, message_id: str | None = None
) -> AbstractContextManager[None]:
    """Name these ids in every log line of this thread inside the `with`; what was bound before returns after it."""
    ids = {"correlation_id": correlation_id, "execution_id": execution_id, "message_id": message_id}
    return bound_contextvars(**{name: str(value) for name, value in ids.items() if value is not None})
