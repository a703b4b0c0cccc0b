"""Filters of templates: Liquid's own, the few that Weir adds, and the guard that bounds what each may do.

The guard makes a missing name an error wherever it is used (`plus` would take it for 0), gives text filters text
rather than Python reprs, charges the template's budget of work, and refuses a result that is too large to go on with.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from liquid.exceptions import FilterArgumentError
from liquid.filter import sequence_filter, with_context
from liquid.undefined import FalsyStrictUndefined

from dsl.templates.native import NotPlain, plain, to_json, to_text
from dsl.templates.patterns import Pattern, PatternError
from dsl.values import MAX_INT, MIN_INT, canonical_json

#: What one step of matching a pattern costs, in characters handled by any other filter.
_PATTERN_STEP = 128
#: What one element of a list costs.
_ELEMENT = 32

_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBdeFGHIjmMpSTuUVwWyYzZ%])*")
_MAX_DATE_FORMAT = 200

Filter = Callable[..., Any]


class Budget(Protocol):
    """What the guard needs of the context a template is evaluated in."""

    max_text: int

    def spend(self, work: int) -> None:
        """Draw on the template's budget of work.

        Raises:
            ResourceLimitError: It is used up.
        """
        ...

    def resolve(self, name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        """A name in scope."""
        ...


def guarded(name: str, function: Filter) -> Filter:
    """A filter as templates see it; python-liquid hands it the context."""
    wants_environment = getattr(function, "with_environment", False)
    wants_context = getattr(function, "with_context", False)
    is_default, of_text = name == "default", name in _TEXT_FILTERS

    def call(left: Any, *args: Any, context: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any value
        for value in (left, *args, *kwargs.values()):
            if type(value) is FalsyStrictUndefined and not is_default:
                value.poke()
        if of_text:
            left = _text(left, context.max_text)
            args = tuple(arg if type(arg) is int else _text(arg, context.max_text) for arg in args)
        context.spend(sum(map(size_of, args), size_of(left)))
        if wants_environment:
            kwargs["environment"] = context.env
        if wants_context:
            kwargs["context"] = context
        result = function(left, *args, **kwargs)
        _check_result(result, context.max_text)
        return result

    call.with_context = True  # type: ignore[attr-defined] # python-liquid's own protocol
    return call


def size_of(value: object) -> int:
    """What handling a value costs, in characters."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, list | tuple | range | dict):
        return _ELEMENT * len(value) + 1
    return 1


def _check_result(result: object, max_text: int) -> None:
    if isinstance(result, str):
        if len(result) > max_text:
            raise _too_long(max_text)
    elif isinstance(result, list):
        if len(result) * 8 > max_text:
            raise FilterArgumentError(f"the list is longer than {max_text // 8} items", token=None)
    elif isinstance(result, int) and not MIN_INT <= result <= MAX_INT:
        raise FilterArgumentError("the number is larger than 64 bits", token=None)


def _too_long(limit: int) -> FilterArgumentError:
    # python-liquid gives an error of this class the place of the filter.
    return FilterArgumentError(f"the text is longer than {limit} characters", token=None)


def _text(value: object, limit: int) -> str:
    try:
        return to_text(value, limit)
    except NotPlain as error:
        raise FilterArgumentError(str(error), token=None) from error


@with_context
def to_json_filter(value: object, *, context: Budget) -> str:
    """`to_json`: compact JSON."""
    try:
        return to_json(value, context.max_text)
    except NotPlain as error:
        raise FilterArgumentError(str(error), token=None) from error


def from_json(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """`from_json`: the value a JSON text stands for."""
    if not isinstance(value, str):
        raise FilterArgumentError("from_json expects a text", token=None)

    def refuse(constant: str) -> None:
        raise FilterArgumentError(f"{constant} is not JSON", token=None)

    try:
        return plain(json.loads(value, parse_constant=refuse), 8 * len(value) + 8)
    except json.JSONDecodeError as error:
        raise FilterArgumentError(f"not JSON: {error.msg} at character {error.pos + 1}", token=None) from error


def slug(value: str) -> str:
    """`slug`: lower-case letters and digits of any script, everything between them one `-`, marks left off."""
    decomposed = unicodedata.normalize("NFKD", value)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", bare)).strip("-")


@with_context
def regex_match(value: str, pattern: object, *, context: Budget) -> bool:
    """`regex_match`: whether the pattern is found anywhere in the text."""
    return _compiled(pattern).search(value, _counter(context))


@with_context
def regex_replace(value: str, pattern: object, replacement: object = "", *, context: Budget) -> str:
    r"""`regex_replace`: each place the pattern is found, replaced; `\1` is what its first group matched."""
    compiled = _compiled(pattern)
    try:
        return compiled.replace(value, str(replacement), _counter(context), context.max_text)
    except PatternError as error:
        raise FilterArgumentError(f"the pattern {error}", token=None) from error


def _counter(context: Budget) -> Callable[[int], None]:
    return lambda steps: context.spend(steps * _PATTERN_STEP)


def _compiled(pattern: object) -> Pattern:
    try:
        return Pattern.of(str(pattern))
    except PatternError as error:
        raise FilterArgumentError(f"the pattern {error}", token=None) from error


@with_context
def date(value: object, form: object = "%Y-%m-%d", *, context: Budget) -> str:
    """`date`: an ISO 8601 text, seconds since 1970, or `now` (the execution's own), written by a strftime format."""
    if value in ("now", "today"):
        value = context.resolve("now")
    if not isinstance(form, str) or len(form) > _MAX_DATE_FORMAT or not _DATE_FORMAT.fullmatch(form):
        raise FilterArgumentError("date expects a format of % and one of aAbBdeFGHIjmMpSTuUVwWyYzZ%", token=None)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).strftime(form)
        return datetime.fromisoformat(str(value)).strftime(form)
    except (ValueError, OverflowError, OSError) as error:
        message = f"date expects an ISO 8601 date or seconds since 1970, found {str(value)[:40]!r}"
        raise FilterArgumentError(message, token=None) from error


@sequence_filter
def _joined(items: Sequence[object], separator: str, limit: int) -> str:
    parts: list[str] = []
    length = 0
    for item in items:
        part = _text(item, limit)
        length += len(part) + len(separator)
        if length > limit + len(separator):
            raise _too_long(limit)
        parts.append(part)
    return separator.join(parts)


@with_context
def join(items: object, separator: object = " ", *, context: Budget) -> str:
    """`join`: items as text, with a separator between."""
    joined: str = _joined(items, _text(separator, context.max_text), context.max_text)
    return joined


@with_context
def replace(value: str, old: object, new: object = "", *, context: Budget) -> str:
    """`replace`: every occurrence, unless that would make the text too long."""
    before, after = str(old), str(new)
    if len(value) + value.count(before) * (len(after) - len(before)) > context.max_text:
        raise _too_long(context.max_text)
    return value.replace(before, after)


@sequence_filter
def uniq(items: Sequence[Any], key: object = None) -> list[Any]:
    """`uniq`: the first of equal items, or of items with equal values of a key."""
    kept: dict[bytes, Any] = {}
    for item in items:
        part = item.get(key) if key is not None and isinstance(item, dict) else item
        kept.setdefault(canonical_json(part), item)
    return list(kept.values())


#: What is left out with everything inside it.
_HIDDEN = (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"))


def strip_html(value: str) -> str:
    """`strip_html`: without tags, comments, scripts and styles. One pass: Python's parser is quadratic on bad HTML."""
    lowered = value.encode().lower().decode()  # ASCII letters only: every index stays what it was
    kept: list[str] = []
    at = 0
    while (start := lowered.find("<", at)) >= 0:
        closing = next((end for begin, end in _HIDDEN if lowered.startswith(begin, start)), ">")
        end = lowered.find(closing, start)
        if end < 0:
            break
        kept.append(value[at:start])
        at = end + len(closing)
    kept.append(value[at:])
    return "".join(kept)


#: What Weir adds to Liquid's filters, or does in its own way.
OWN_FILTERS: dict[str, Filter] = {
    "date": date,
    "from_json": from_json,
    "join": join,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
    "replace": replace,
    "slug": slug,
    "strip_html": strip_html,
    "to_json": to_json_filter,
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
