"""Reading requests: one strict JSON object, known query parameters, and every fault of either in one answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import flask_smorest
import marshmallow as ma
from flask import Flask, Request, request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from api.problems import BodyMalformed, MediaTypeRefused, RequestInvalid
from dsl.errors import Fault

F = TypeVar("F")

#: Whole numbers a body may hold: those of 64 bits with a sign.
_GREATEST = 2**63


#: Fields of a body, at the top, that are looked at.
MAX_FIELDS = 1000

#: Faults of one request that are named; who sent more has something else in mind.
MAX_FAULTS = 100


class Parser(FlaskParser):
    """The webargs parser of every operation: schemas decide on unknown fields, faults become one problem."""

    # The default drops unknown query parameters in silence.
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": None, "query": None}  # noqa: RUF012 - webargs' form

    def load_json(self, req: Request, schema: ma.Schema) -> Any:  # noqa: ANN401 - any JSON
        """The body; no body at all counts as `{}`."""
        raw = req.get_data(cache=True)
        if req.content_length is None and len(raw) >= (req.max_content_length or math.inf):
            # werkzeug refuses a longer body by its header; one without it, sent in chunks, it cuts off in silence.
            raise RequestEntityTooLarge
        if not raw:
            return {}
        if not req.is_json:
            raise MediaTypeRefused(
                "the body must be JSON, with Content-Type: application/json", hint="curl sends it with --json."
            )
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
        every = (fault for part in messages.values() for fault in _faults(part, schema, ""))
        raise RequestInvalid(list(islice(every, MAX_FAULTS))) from error


def refuse_unknown_query(app: Flask) -> None:
    """Refuse query parameters of operations that take none; those that take some look at theirs themselves."""

    def look() -> None:
        if not request.args or request.endpoint is None:
            return
        view = getattr(app.view_functions[request.endpoint], "view_class", None)
        if view is None or request.blueprint == "health":
            # Documents, and probes that add what they like.
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
    """A blueprint whose operations read requests this way."""

    ARGUMENTS_PARSER = Parser()

    if TYPE_CHECKING:

        def route(self, rule: str, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401 - flask-smorest's own

        def arguments(self, schema: type[ma.Schema], **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def response(self, status: int, schema: type[ma.Schema] | None = None, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def alt_response(self, status: int, response: str | None = None, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401

        def doc(self, **options: Any) -> Callable[[F], F]: ...  # noqa: ANN401


def parse_body(raw: bytes) -> Any:  # noqa: ANN401 - any JSON
    """JSON as RFC 8259 and the database have it: no NaN, no key twice, no NUL, no half characters, no endless numbers.

    Raises:
        BodyMalformed: It is not JSON.
        RequestInvalid: It is, and holds a text or number that cannot be stored; each is named.
    """
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            raise BodyMalformed(f"the body has {len(body)} fields; no operation takes more than a few")
    except RecursionError as error:
        raise BodyMalformed("the body is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise BodyMalformed(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BodyMalformed(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except ValueError as error:
        raise BodyMalformed(f"the body is not JSON: {error}") from error
    try:
        faults = list(islice(_unstorable(body, ""), MAX_FAULTS))
    except RecursionError as error:
        raise BodyMalformed("the body is nested too deeply") from error
    if faults:
        raise RequestInvalid(faults)
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found


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
