"""Reading requests: ids, one strict JSON object, known query parameters, and every fault of them in one answer.

What every operation refuses for the same reasons is added to its description here, next to the reasons.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

import flask_smorest
import marshmallow as ma
from flask import Flask, Request, request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from api.json_text import NotJson, parse_strictly
from api.problems import BodyMalformed, IdMalformed, MediaTypeRefused, RequestInvalid
from dsl.errors import Fault

F = TypeVar("F")

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Whole numbers a body may hold: those of 64 bits with a sign.
_GREATEST = 2**63


#: Fields of a body, at the top, that are looked at.
MAX_FIELDS = 1000

#: Faults of one request that are named; who sent more has something else in mind.
MAX_FAULTS = 100


#: Where the headers of an operation are kept until it is described.
_HEADERS = "headers"

#: Blueprints of probes, which may add what they like to an address.
LENIENT = frozenset({"health"})

#: What any operation may answer: a page of another site asks; nobody foresaw it.
_ALWAYS = (HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR)
#: With a body: not what it says it is, too large, of another kind, of another shape.
_WITH_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


class Parser(FlaskParser):
    """The webargs parser of every operation: schemas decide on unknown fields, faults become one problem."""

    # The default drops unknown query parameters in silence.
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": None, "query": None}  # noqa: RUF012 - webargs' form

    def load_json(self, req: Request, schema: ma.Schema) -> Any:  # noqa: ANN401 - any JSON
        """The body; no body at all counts as `{}`."""
        raw = read_body(req)
        if not raw:
            return {}
        if not req.is_json:
            raise MediaTypeRefused(
                "the body must be JSON, with Content-Type: application/json", hint="curl sends it with --json."
            )
        if getattr(schema, "LOOKS_AT_ITEMS_ITSELF", False):
            return parse_text(raw)
        return parse_body(raw)

    def load_querystring(self, req: Request, schema: ma.Schema) -> dict[str, str]:
        """Each parameter once."""
        faults = []
        for name, values in req.args.lists():
            if len(values) > 1:
                faults.append(Fault("request.repeated", f"{name} is given {len(values)} times", path=name))
            if "\0" in name or any("\0" in value for value in values):
                faults.append(Fault("request.unstorable", f"{name!r} holds a NUL character", path=name))
        if faults:
            raise RequestInvalid(faults)
        return req.args.to_dict()

    def handle_error(  # type: ignore[override]  # always raises, with fewer facts needed
        self, error: ma.ValidationError, _req: Request, schema: ma.Schema, **_facts: object
    ) -> NoReturn:
        """Every fault that marshmallow found."""
        messages: Any = error.messages
        raise _refusal(messages.values(), schema) from error


class NoId(str):
    """What stands in a path where an id belongs."""

    __slots__ = ()


class IdConverter(BaseConverter):
    """An id in a path. Anything else fits too, so that the answer can say what an id looks like."""

    def to_python(self, value: str) -> UUID | NoId:
        return UUID(value) if _ID.fullmatch(value) else NoId(value)


def install(app: Flask) -> None:
    """Have every request of the app looked at; before its routes are added."""
    app.url_map.converters["id"] = IdConverter
    refuse_other_ids(app)
    refuse_unstorable_names(app)
    refuse_unknown_query(app)


def methods_of(app: Flask, path: str) -> set[str]:
    """Methods of a path that is an address by itself, though it looks like that of a thing: `/api/fragments/import`."""
    return {method for rule in app.url_map.iter_rules() if rule.rule == path for method in rule.methods or ()}


def refuse_other_ids(app: Flask) -> None:
    """Refuse paths that hold something else where an id belongs."""

    def look() -> None:
        found = next((value for value in (request.view_args or {}).values() if isinstance(value, NoId)), None)
        if found is None:
            return
        if methods := methods_of(app, request.path):
            raise MethodNotAllowed(sorted(methods))
        raise IdMalformed(f"{found[:100]!r} is not an id", hint="An id is a UUID, with hyphens.")

    app.before_request(look)


def refuse_unstorable_names(app: Flask) -> None:
    """Refuse names in paths that the database cannot hold, and so cannot look for: what no thing is called."""

    def look() -> None:
        names = ((name, value) for name, value in (request.view_args or {}).items() if isinstance(value, str))
        faults = [fault for name, value in names for fault in _unstorable_text(value, name)]
        if faults:
            raise RequestInvalid(faults)

    app.before_request(look)


def refuse_unknown_query(app: Flask) -> None:
    """Refuse query parameters of operations that take none; those that take some look at theirs themselves."""

    def look() -> None:
        if not request.args or request.endpoint is None:
            return
        view = getattr(app.view_functions[request.endpoint], "view_class", None)
        if view is None or request.blueprint in LENIENT:
            return
        operation = getattr(view, request.method.lower(), None)
        parameters = getattr(operation, "_apidoc", {}).get("arguments", {}).get("parameters", ())
        if any(parameter.get("in") == "query" for parameter in parameters):
            return
        raise RequestInvalid(
            [
                Fault("request.unknown_field", f"there is no query parameter {name[:100]!r} here", path=name[:100])
                for name in islice(request.args, MAX_FAULTS)
            ]
        )

    app.before_request(look)


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # flask-smorest is not typed
    """A blueprint whose operations read requests this way, and say in their description what they refuse."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *arguments: Any, **facts: Any) -> None:  # noqa: ANN401 - flask-smorest's own
        super().__init__(*arguments, **facts)
        self._prepare_doc_cbks.append(self._describe)

    def _describe(self, description: dict[str, Any], facts: Mapping[str, Any], **_: object) -> dict[str, Any]:
        """The description of an operation, with its headers and what all like it refuse; called by flask-smorest."""
        if _HEADERS in facts:
            description["parameters"] = [*description.get("parameters", ()), *facts[_HEADERS]]
        has_body = "requestBody" in description or "requestBody" in facts.get("manual_doc", {})
        statuses = [*_ALWAYS, *(_WITH_BODY if has_body else ())]
        if self.name not in LENIENT:
            statuses.append(HTTPStatus.UNPROCESSABLE_ENTITY)
        responses = description.setdefault("responses", {})
        for status in statuses:
            responses.setdefault(int(status), status.name)
        return description

    if TYPE_CHECKING:

        def route(self, rule: str, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401 - flask-smorest's own

        def arguments(self, schema: type[ma.Schema], **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def response(self, status: int, schema: type[ma.Schema] | None = None, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def alt_response(self, status: int, response: str | None = None, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def doc(self, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

    def takes(self, *headers: Mapping[str, Any]) -> Callable[[F], F]:
        """The headers that an operation heeds, as OpenAPI describes parameters."""

        def decorate(operation: F) -> F:
            facts = deepcopy(getattr(operation, "_apidoc", {}))
            facts[_HEADERS] = [*facts.get(_HEADERS, ()), *headers]
            operation._apidoc = facts  # type: ignore[attr-defined]  # noqa: SLF001 - where flask-smorest keeps such facts
            return operation

        return decorate

    def refuses(self, *statuses: int) -> Callable[[F], F]:
        """The statuses of an operation's own refusals."""

        def decorate(operation: F) -> F:
            for status in statuses:
                operation = self.alt_response(status, HTTPStatus(status).name)(operation)
            return operation

        return decorate


def read_body(req: Request) -> bytes:
    """The bytes of a body.

    Raises:
        RequestEntityTooLarge: There are more than the settings allow.
    """
    raw = req.get_data(cache=True)
    if req.content_length is None and len(raw) >= (req.max_content_length or math.inf):
        # werkzeug refuses a longer body by its header; one without it, sent in chunks, it cuts off in silence.
        raise RequestEntityTooLarge
    return raw


def parse_json(shape: type[ma.Schema]) -> Any:  # noqa: ANN401 - what the shape makes of it
    """The JSON body of this request, for operations that take other kinds of body too.

    Raises:
        BodyMalformed: It is not JSON.
        RequestInvalid: It has another shape.
    """
    return Blueprint.ARGUMENTS_PARSER.parse(shape, request, location="json")


def parse_body(raw: bytes) -> Any:  # noqa: ANN401 - any JSON
    """JSON as RFC 8259 and the database have it: no NaN, no key twice, no NUL, no half characters, no endless numbers.

    Raises:
        BodyMalformed: It is not JSON.
        RequestInvalid: It is, and holds a text or number that cannot be stored; each is named.
    """
    body = parse_text(raw)
    refuse_unstorable(body)
    return body


def parse_part(shape: ma.Schema, value: object) -> Any:  # noqa: ANN401 - what the shape makes of it
    """One part of a body, for operations that judge each by itself; `parse_text` has read the body.

    Raises:
        BodyMalformed: It is nested too deeply.
        RequestInvalid: It has another shape, or holds what cannot be stored.
    """
    refuse_unstorable(value)
    try:
        return shape.load(value)  # type: ignore[arg-type]  # what is no object is refused as such
    except ma.ValidationError as error:
        raise _refusal([error.messages], shape) from error


def parse_text(raw: bytes) -> Any:  # noqa: ANN401 - any JSON
    """JSON of which nobody has looked yet whether it can be stored.

    Raises:
        BodyMalformed: It is not JSON.
    """
    try:
        body = parse_strictly(raw)
    except NotJson as error:
        raise BodyMalformed(f"the body {error}") from error
    if isinstance(body, dict) and len(body) > MAX_FIELDS:
        raise BodyMalformed(f"the body has {len(body)} fields; no operation takes more than a few")
    return body


def refuse_unstorable(value: object) -> None:
    """Refuse texts and numbers that cannot be stored.

    Raises:
        BodyMalformed: It is nested too deeply to look.
        RequestInvalid: There are some; each is named.
    """
    try:
        faults = list(islice(_unstorable(value, ""), MAX_FAULTS))
    except RecursionError as error:
        raise BodyMalformed("the body is nested too deeply") from error
    if faults:
        raise RequestInvalid(faults)


def _unstorable(value: object, path: str) -> Iterator[Fault]:
    """Texts and numbers that neither the database nor other readers of JSON could take."""
    if isinstance(value, str):
        yield from _unstorable_text(value, path)
    elif isinstance(value, float):
        if math.isinf(value):
            yield Fault("request.number_range", "the number is out of range", path=path)
    elif isinstance(value, int):
        if not -_GREATEST <= value < _GREATEST:
            yield Fault(
                "request.number_range", "the whole number is out of range", path=path, expected="at most 64 bits"
            )
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unstorable_text(key, path)
            yield from _unstorable(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unstorable(inner, f"{path}[{index}]")


def _unstorable_text(text: str, path: str) -> Iterator[Fault]:
    if text.isascii():
        if "\0" in text:
            yield Fault("request.unstorable", "the text holds a NUL character", path=path)
        return
    if "\0" in text:
        yield Fault("request.unstorable", "the text holds a NUL character", path=path)
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield Fault("request.unstorable", "the text holds half of a surrogate pair", path=path)


def _refusal(messages: Iterable[object], schema: ma.Schema) -> RequestInvalid:
    every = (fault for part in messages for fault in _faults(part, schema, ""))
    return RequestInvalid(list(islice(every, MAX_FAULTS)))


def _faults(messages: object, schema: ma.Schema, path: str) -> Iterator[Fault]:
    """The nested messages of marshmallow, flat; unknown names with the nearest known one."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            if isinstance(key, int):
                yield from _faults(inner, schema, f"{path}[{key}]")
            elif key == "_schema":
                yield from _faults(inner, schema, path)
            else:
                yield from _faults(inner, schema, f"{path}.{key}" if path else str(key))
        return
    for message in messages if isinstance(messages, list) else [messages]:
        yield _fault(str(message), schema, path)


def _fault(message: str, schema: ma.Schema, path: str) -> Fault:
    if message == "Unknown field.":
        name = path.rpartition(".")[2]
        nearest = get_close_matches(name, [str(known) for known in schema.fields], n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return Fault(
            "request.unknown_field", f"there is no {name}{hint}", path=path, nearest=nearest[0] if nearest else None
        )
    code = "request.missing_field" if message.startswith("Missing data") else "request.invalid_value"
    said = message[:1].lower() + message[1:].rstrip(".")
    return Fault(code, f"{path}: {said}" if path else said, path=path)
