"""What the columns of records can hold, checked before Postgres is asked: fragments, notes, notifications.

Postgres keeps neither a NUL character nor a lone surrogate, in text or in jsonb, and JSON has no NaN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dsl.errors import RecordInvalid

#: Form of a fragment's type and of a space's name; the schema checks it too.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: Characters of a title or a source, at most.
MAX_TITLE = 1000
#: Characters of a content, at most.
MAX_CONTENT = 1_048_576
#: Characters of a state or a metadata as JSON, at most.
MAX_JSON = 262_144
#: Maps and lists inside one another in a state or a metadata, at most: what commands compute (`dsl.values.MAX_DEPTH`)
#: fits in, and whoever reads it again does not run out of stack.
MAX_JSON_DEPTH = 128

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
#: Tags of one fragment, and characters of one tag, at most.
MAX_TAGS, MAX_TAG = 100, 100

#: A NUL inside JSON text: an escape whose backslash is not itself escaped.
JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def checked_name(what: str, name: str, field: str | None = None) -> str:
    """`name`, if it has the form of `NAME`.

    Args:
        what: As a person calls it.
        name: To be checked.
        field: As the record calls it; `what`, unless given.

    Raises:
        RecordInvalid: It has not.
    """
    if not NAME.fullmatch(name):
        raise RecordInvalid(
            f"{name!r} cannot be the {what}",
            hint="1 to 63 lower case letters, digits and . _ - that begin with a letter or digit.",
            field=field or what,
        )
    return name


def checked_text(what: str, text: str, limit: int, field: str | None = None) -> str:
    """`text`, if a text column can hold it.

    Args:
        what: As a person calls it.
        text: To be checked.
        limit: Characters, at most.
        field: As the record calls it; `what`, unless given.

    Raises:
        RecordInvalid: It has more than `limit` characters, a NUL, or half of a surrogate pair.
    """
    if len(text) > limit:
        raise RecordInvalid(f"the {what} has {len(text)} characters; {limit} is the most", field=field or what)
    if "\0" in text:
        raise RecordInvalid(f"the {what} holds a NUL character, which cannot be stored", field=field or what)
    _check_encodable(what, text, field or what)
    return text


def checked_tags(tags: Iterable[str]) -> list[str]:
    """The tags without spaces around them, each once, in the order given.

    Raises:
        RecordInvalid: One is empty or too long, or there are too many.
    """
    kept = list(dict.fromkeys(checked_text("tag", tag.strip(), MAX_TAG, "tags") for tag in tags))
    if "" in kept:
        raise RecordInvalid("a tag is empty", field="tags")
    if len(kept) > MAX_TAGS:
        raise RecordInvalid(f"{len(kept)} tags; {MAX_TAGS} is the most", field="tags")
    return kept


def json_text(what: str, value: object) -> str:
    """`value` as the JSON text of a jsonb column.

    Raises:
        RecordInvalid: It is not JSON, holds what jsonb cannot, is longer than `MAX_JSON` or deeper than
            `MAX_JSON_DEPTH`.
    """
    if value == {}:
        return "{}"  # what most have
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordInvalid(f"the {what} cannot be stored as JSON: {error}", field=what) from error
    if len(text) > MAX_JSON:
        raise RecordInvalid(f"the {what} has {len(text)} characters as JSON; {MAX_JSON} is the most", field=what)
    if _is_deep(value):
        raise RecordInvalid(f"the {what} is nested deeper than {MAX_JSON_DEPTH} levels", field=what)
    if JSON_NUL.search(text):
        raise RecordInvalid(f"the {what} holds a NUL character, which cannot be stored", field=what)
    _check_encodable(what, text, what)
    return text


def is_same(left: object, right: object) -> bool:
    """Whether two JSON values are the same; unlike `==`, true is not 1."""
    return left == right and json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def merge_patch(target: object, patch: object) -> Any:  # noqa: ANN401 - any JSON value
    """`target` with a JSON merge patch applied (RFC 7396): maps merge, null removes, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _is_deep(value: object) -> bool:
    """Whether maps and lists are nested deeper than `MAX_JSON_DEPTH`; looked at level by level, without recursion."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [each for each in level if isinstance(each, Mapping | list | tuple)]
        if not containers:
            return False
        level = [inner for each in containers for inner in (each.values() if isinstance(each, Mapping) else each)]
    return True


def _check_encodable(what: str, text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"the {what} holds half of a surrogate pair at character {error.start}"
        raise RecordInvalid(message, field=field) from error
