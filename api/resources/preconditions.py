"""`ETag` and `If-Match` (RFC 9110 § 13): a change by somebody who has not seen the last one is refused."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from flask import Response, request
from werkzeug.http import quote_etag

from api.problems import Stale
from api.resources.answers import json_answer

#: How operations describe the headers.
ETAG_HEADER = {"ETag": {"schema": {"type": "string"}, "description": "Of this state of it; another one, another tag."}}
IF_MATCH_HEADER = {
    "in": "header",
    "name": "If-Match",
    "schema": {"type": "string"},
    "description": "`ETag` of the state that is to be changed; with another one, nothing is changed and the answer is"
    " 412. Left out: whatever it is.",
}
IF_NONE_MATCH_HEADER = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "`ETag` of the state the caller has; with this one the answer is 304, without a body.",
}


def tagged(body: dict[str, Any], status: int = 200, **headers: str) -> Response:
    """An answer with its entity tag; 304 where the caller has it already."""
    answer = json_answer(body, status, headers)
    tag = tag_of(answer)
    if request.method in {"GET", "HEAD"} and request.if_none_match.contains_weak(tag):
        answer = Response(status=304)
    answer.headers["ETag"] = quote_etag(tag)
    return answer


def require_match(body: dict[str, Any]) -> None:
    """Let nobody change what is not as they say.

    Args:
        body: As `tagged` answers with it.

    Raises:
        Stale: There is an `If-Match`, and this is not among what it names.
    """
    if "If-Match" in request.headers and not request.if_match.contains(tag_of(json_answer(body))):
        raise Stale("it was changed since, or If-Match is not an ETag of it", hint="Get it again.")


def tag_of(answer: Response) -> str:
    """The entity tag of an answer: a hash of its body."""
    return blake2b(answer.get_data(), digest_size=16).hexdigest()
