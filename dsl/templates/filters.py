"""Filters of templates: Liquid's own, those that Weir adds or does in its own way, and the guard around each.

The guard makes a missing name an error wherever it is used (`plus` would take it for 0), gives text filters text
rather than Python's own writing of lists, draws on the template's budget before the filter runs, and refuses a result
that is too large to go on with.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from inspect import Parameter, signature
from typing import Any, TypeAlias

from liquid.exceptions import (
    FilterArgumentError,
    FilterValueError,
    LiquidError,
    LiquidValueError,
    UndefinedError,
)
from liquid.filter import with_context
from liquid.undefined import FalsyStrictUndefined

from dsl.templates.context import Context
from dsl.templates.costs import CONTAINERS, COSTS, DECODED_BYTES, LISTS, Cost, TooMuch, charge
from dsl.templates.list_filters import compact, concat, join, slice_, sort, sort_natural, uniq
from dsl.templates.native import NotPlain, kind_of, to_json, to_text
from dsl.templates.text_filters import (
    append,
    prepend,
    regex_match,
    regex_replace,
    remove_last,
    replace,
    replace_last,
    slug,
    split,
    strip_html,
    truncatewords,
)
from dsl.values import MAX_INT, MIN_INT

_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBdeFGHIjmMpSTuUVwWyYzZ%])*")
_MAX_DATE_FORMAT = 200
#: Characters of the longest ISO 8601 text that is read.
_MAX_DATE = 40

#: Characters of the longest 64-bit number; a longer one is out of range without being read.
_MAX_DIGITS = 20

#: What part of a text's limit a list or mapping may be that is written out for a filter of texts, with all others.
_MOST_WRITTEN_OUT = 4

#: Half of a surrogate pair, as JSON writes it.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

#: Characters of a name that a message repeats.
_MAX_SHOWN = 50

Filter: TypeAlias = Callable[..., Any]
_Arguments: TypeAlias = tuple[object, ...]
_Prepare: TypeAlias = Callable[[object, _Arguments, Context], tuple[object, _Arguments]]


def guarded(name: str, function: Filter) -> Filter:
    """A filter as templates see it; `Context.filter` hands it the context."""
    wants_environment = getattr(function, "with_environment", False)
    wants_context = getattr(function, "with_context", False)
    is_default, prepared = name == "default", _preparation(name)
    cost = COSTS.get(name, Cost())
    expected = arguments(function)

    def call(left: Any, *args: Any, context: Context, **kwargs: Any) -> Any:  # noqa: ANN401 - any value
        for value in (left, *args, *kwargs.values()):
            if type(value) is FalsyStrictUndefined and not is_default:
                value.poke()
        if kwargs or not expected[0] <= len(args) <= expected[1]:
            _check_arguments(name, expected, len(args), kwargs)
        if prepared is not None:
            left, args = prepared(left, args, context)
        charge(cost, left, args, context)
        if wants_environment:
            kwargs["environment"] = context.env
        if wants_context:
            kwargs["context"] = context
        try:
            result = function(left, *args, **kwargs)
        except (LiquidError, TypeError, ValueError, ArithmeticError) as error:  # whatever Python makes of the values
            raise _refused(name, left, error) from error
        _check_result(result, context)
        return result

    return call


def arguments(function: Filter) -> tuple[int, int]:
    """How many arguments a filter takes, at least and at most."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    taken = [one for one in signature(function).parameters.values() if one.kind in kinds][1:]
    return sum(one.default is Parameter.empty for one in taken), len(taken)


def _check_arguments(name: str, expected: tuple[int, int], found: int, named: Mapping[str, object]) -> None:
    if named and (name != "default" or named.keys() != {"allow_false"}):
        raise FilterArgumentError(f"{name} does not take `{next(iter(named))[:_MAX_SHOWN]}:`", token=None)
    least, most = expected
    if not least <= found <= most:
        count = str(least) if least == most else f"{least} to {most}"
        plural = "" if count == "1" else "s"
        raise FilterArgumentError(f"{name} expects {count} argument{plural}, found {found}", token=None)


def _refused(name: str, left: object, error: Exception) -> Exception:
    """Why a filter could not do what it was asked; of the class to which python-liquid gives the filter's place."""
    if isinstance(error, UndefinedError | TooMuch | NotPlain):
        return error
    if isinstance(error, UnicodeError):
        return FilterArgumentError(f"{name} makes what is no text", token=None)
    if isinstance(error, LiquidError) and not isinstance(error, LiquidValueError | FilterValueError):
        if isinstance(error.__cause__, TypeError):
            return FilterArgumentError(f"{name} cannot do that with {kind_of(left)}", token=None)
        return FilterArgumentError(str(error.message), token=None)
    if isinstance(error, TypeError):
        return FilterArgumentError(f"{name} cannot do that with {kind_of(left)}", token=None)
    return FilterArgumentError(f"{name} was given what it cannot work with", token=None)


def _preparation(name: str) -> _Prepare | None:
    """What makes of the values of a filter those that it expects."""
    if name in _TEXT_FILTERS:
        return _texts
    if name in _BY_KEY:
        return partial(_by_key, name)
    return _text_or_list if name == "slice" else None


def _texts(left: object, args: _Arguments, context: Context) -> tuple[object, _Arguments]:
    """What a filter of texts is given, as text. What is written out for it is small: it stays until it is done."""
    limit = context.max_text // _MOST_WRITTEN_OUT // (1 + len(args))
    return to_text(left, context, limit=limit), tuple(
        arg if type(arg) is int else to_text(arg, context, limit=limit) for arg in args
    )


def _text_or_list(left: object, args: _Arguments, context: Context) -> tuple[object, _Arguments]:
    return left if isinstance(left, LISTS) else to_text(left, context), args


def _by_key(name: str, left: object, args: _Arguments, _: Context) -> tuple[object, _Arguments]:
    if args and isinstance(args[0], CONTAINERS):
        raise FilterArgumentError(f"{name} expects the name of a property", token=None)
    return left, args


def _check_result(result: object, context: Context) -> None:
    if isinstance(result, str):
        context.check_text(len(result))
    elif isinstance(result, list):
        context.check_items(len(result))
    elif isinstance(result, int) and not MIN_INT <= result <= MAX_INT:
        raise FilterArgumentError("the number is larger than 64 bits", token=None)


def default(value: object, instead: object = "", *, allow_false: object = False) -> object:
    """`default`: something else for a missing name, null, false, and what is empty."""
    if isinstance(value, bool):
        return value if value or allow_false is True else instead
    if type(value) is FalsyStrictUndefined or value == None:  # noqa: E711 - Liquid's own nulls only say so by ==
        return instead
    return instead if isinstance(value, (str, list, dict)) and not value else value


@with_context
def as_json(value: object, *, context: Context) -> str:
    """`to_json`: compact JSON."""
    return to_json(value, context)


@with_context
def from_json(value: object, *, context: Context) -> Any:  # noqa: ANN401 - any JSON value
    """`from_json`: the value a JSON text stands for; it is held, wherever its parts go."""
    if not isinstance(value, str):
        raise FilterArgumentError("from_json expects a text", token=None)
    context.hold(DECODED_BYTES * len(value))
    try:
        decoded = json.loads(value, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise FilterArgumentError(f"not JSON: {error.msg} at character {error.pos + 1}", token=None) from error
    except RecursionError:
        raise FilterArgumentError("the JSON is nested too deeply", token=None) from None
    if _SURROGATE.search(value):
        try:
            json.dumps(decoded, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise FilterArgumentError("a \\u escape is half of a character", token=None) from None
    return decoded


def _no_constant(name: str) -> None:
    raise FilterArgumentError(f"{name} is not JSON", token=None)


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= _MAX_DIGITS else MAX_INT + 1
    if not MIN_INT <= number <= MAX_INT:
        raise FilterArgumentError("a whole number is larger than 64 bits", token=None)
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise FilterArgumentError("a number is infinite or not a number", token=None)
    return number


@with_context
def date(value: object, form: object = "%Y-%m-%d", *, context: Context) -> str:
    """`date`: an ISO 8601 text, seconds since 1970, or `now` (the execution's own), written by a strftime format."""
    if value in ("now", "today"):
        value = context.resolve("now")
    if not isinstance(form, str) or len(form) > _MAX_DATE_FORMAT or not _DATE_FORMAT.fullmatch(form):
        raise FilterArgumentError("date expects a format of % and one of aAbBdeFGHIjmMpSTuUVwWyYzZ%", token=None)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).strftime(form)
        if isinstance(value, str) and len(value) <= _MAX_DATE:
            return datetime.fromisoformat(value).strftime(form)
    except (ValueError, OverflowError, OSError) as error:
        raise _no_date(value) from error
    raise _no_date(value)


def _no_date(value: object) -> FilterArgumentError:
    found = repr(value[:_MAX_DATE]) if isinstance(value, str) else kind_of(value)
    message = f"date expects an ISO 8601 date or seconds since 1970, found {found}"
    return FilterArgumentError(message, token=None)


#: What Weir adds to Liquid's filters, or does in its own way.
OWN_FILTERS: dict[str, Filter] = {
    "append": append,
    "compact": compact,
    "concat": concat,
    "date": date,
    "default": default,
    "from_json": from_json,
    "join": join,
    "prepend": prepend,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
    "remove_last": remove_last,
    "replace": replace,
    "replace_last": replace_last,
    "slug": slug,
    "slice": slice_,
    "sort": sort,
    "sort_natural": sort_natural,
    "split": split,
    "strip_html": strip_html,
    "to_json": as_json,
    "truncatewords": truncatewords,
    "uniq": uniq,
}

#: Liquid's filters that mean nothing without HTML escaping.
LEFT_OUT = ("safe",)

#: Filters whose left side and arguments are text.
_TEXT_FILTERS = frozenset(
    [
        "append",
        "base64_decode",
        "base64_encode",
        "base64_url_safe_decode",
        "base64_url_safe_encode",
        "capitalize",
        "downcase",
        "escape",
        "escape_once",
        "escapejs",
        "lstrip",
        "newline_to_br",
        "prepend",
        "regex_match",
        "regex_replace",
        "remove",
        "remove_first",
        "remove_last",
        "replace",
        "replace_first",
        "replace_last",
        "rstrip",
        "slug",
        "split",
        "squish",
        "strip",
        "strip_html",
        "strip_newlines",
        "truncate",
        "truncatewords",
        "upcase",
        "url_decode",
        "url_encode",
    ]
)

#: Filters whose first argument names a property of the items; python-liquid would write any other value out.
_BY_KEY = frozenset(
    (
        *("compact", "find", "find_index", "has", "map", "reject", "sort", "sort_natural", "sum", "uniq"),
        "where",
    )
)
