"""`ETag` and `If-Match` (RFC 9110 § 13): a change by somebody who has not seen the last one is refused."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from flask import Response, request
from werkzeug.http import quote_etag

from api.problems import Stale
from api.resources.answers import json_answer

#: What an answer of 304 means.
UNCHANGED = "`If-None-Match` names what it would be."
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
    return _with_tag(json_answer(body, status, headers))


def kept(answer: Response, cache_control: str) -> Response:
    """As `tagged`, of an answer that is there; both it and the 304 say how long it may be kept."""
    told = _with_tag(answer)
    told.headers["Cache-Control"] = cache_control
    return told


def _with_tag(answer: Response) -> Response:
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


def briefly_kept(body: bytes, max_age_s: int) -> Response:
    """JSON that may be kept for so many seconds by who asked, and asked for again by its tag."""
    return kept(Response(body, mimetype="application/json"), f"private, max-age={max_age_s}")
