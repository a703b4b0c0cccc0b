"""What libyaml says of a text that is not YAML, in words for whoever wrote it, and where the mistake was made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from dsl.nodes import position_in

_CLOSING = {"[": "]", "{": "}", '"': '"', "'": "'"}
#: What stands before a colon on its line when that is the line's own key.
_OWN_KEY = re.compile(r"[ ]+(?:- +)*[^\s:'\"#][^:'\"#]*")
#: A quoted text that ends within a template.
_CUT_SHORT = re.compile(r"""(["'])(?:(?!\1).)*\{[{%](?:(?!\1|[%}]\}).)*\1$""")
_ESCAPE = "a backslash in double quotes as \\\\, or single quotes"


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a text is not YAML.

    Attributes:
        index: Of the character at which it was made.
        message: One sentence.
        expected: What should be there.
        code: Stable name of the kind of fault.
    """

    index: int
    message: str
    expected: str
    code: str = "yaml.syntax"


def explain(text: str, error: yaml.YAMLError) -> Mistake:
    """The mistake behind an error of libyaml."""
    place = _Place.of(text, error)
    if place.at_end and place.opened in _CLOSING:
        opened = place.opened
        what = f"the `{opened}`" if opened in "[{" else "the quote"
        return Mistake(place.context, f"{what} is never closed", f"`{_CLOSING[opened]}` behind it")
    if _CUT_SHORT.search(place.before.rstrip()):
        message = "the quote before this ends the text, in the middle of a template"
        return Mistake(place.index, message, "the other kind of quotes inside the template")
    for problem, explained in _EXPLAINED.items():
        if place.problem.startswith(problem):
            return explained(place)
    return Mistake(place.index, f"this is not YAML: {place.problem}", "YAML")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where libyaml stopped.

    Attributes:
        text: The whole text.
        problem: Its own words.
        index: Where it stopped.
        context: Where what it was reading begins.
    """

    text: str
    problem: str
    index: int
    context: int

    @classmethod
    def of(cls, text: str, error: yaml.YAMLError) -> _Place:
        stopped, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
        index = len(text) if stopped is None else min(stopped.index, len(text))
        context = index if began is None else min(began.index, len(text))
        return cls(text, getattr(error, "problem", None) or str(error), index, context)

    @property
    def at_end(self) -> bool:
        return not self.text[self.index :].strip()

    @property
    def character(self) -> str:
        return self.text[self.index : self.index + 1]

    @property
    def opened(self) -> str:
        """What begins at `context`."""
        return self.text[self.context : self.context + 1]

    @property
    def before(self) -> str:
        """The line up to `index`."""
        return self.text[self.text.rfind("\n", 0, self.index) + 1 : self.index]

    @property
    def began(self) -> str:
        """Where `context` is, in words."""
        return f"line {position_in(self.text, self.context).line}"


def _colon(place: _Place) -> Mistake:
    if _OWN_KEY.fullmatch(place.before):
        index = place.index - len(place.before.lstrip(" "))
        return Mistake(index, "this line goes on with the text of the line before", "the indentation of the keys above")
    return Mistake(place.index, "a text that holds `: ` must be quoted", "quotes around the whole text")


def _key(place: _Place) -> Mistake:
    before = place.before.rstrip()
    if before.endswith(("'", '"')):
        expected = "the end of the line; a quote inside quotes is written '' or \\\""
        return Mistake(place.index, "the quote before this ends the text", expected)
    if place.character in {"]", "}"}:
        return _closes_nothing(place)
    if place.character == ":":
        return Mistake(place.index, "there is no key before `:`", "a key")
    if place.at_end or before:
        return Mistake(place.index, "this is neither a key nor part of the value before", "a key on a line of its own")
    if place.character == "-":
        expected = f"a key, or the indentation of the list it belongs to, in the mapping of {place.began}"
        return Mistake(place.index, "an item of a list stands among the keys of a mapping", expected)
    expected = f"the indentation of a key of the mapping of {place.began}"
    return Mistake(place.index, "this line is indented like nothing before it", expected)


def _item(place: _Place) -> Mistake:
    message = f"this line is neither an item of the list of {place.began} nor part of one"
    return Mistake(place.index, message, "`- `, or the indentation of the item's own lines")


def _bracket(place: _Place) -> Mistake:
    closing = _CLOSING.get(place.opened, "its end")
    if "\n" in place.text[place.context : place.index]:
        line = position_in(place.text, place.index).line
        return Mistake(place.context, f"this `{place.opened}` is not closed before line {line}", f"`{closing}`")
    return Mistake(place.index, f"the `{place.opened}` of {place.began} is not closed", f"`,` or `{closing}`")


def _value(place: _Place) -> Mistake:
    opening = {"]": "[", "}": "{"}.get(place.character)
    if opening is not None and place.before.count(opening) <= place.before.count(place.character):
        return _closes_nothing(place)
    return Mistake(place.index, "a value is missing here", "a value")


def _closes_nothing(place: _Place) -> Mistake:
    return Mistake(place.index, f"this `{place.character}` closes nothing", "quotes, if it belongs to a text")


def _first_character(place: _Place) -> Mistake:
    first = "a backtick" if place.opened == "`" else f"`{place.opened}`"
    return Mistake(place.context, f"a text cannot begin with {first}: quote it", "quotes around the whole text")


def _tag(place: _Place) -> Mistake:
    return Mistake(place.context, "tags are not used in command files", "the value alone", "yaml.tag")


def _unquoted_key(place: _Place) -> Mistake:
    return Mistake(place.context, "this is neither a key nor part of the value before", "a key, then `:`")


def _at(message: str, expected: str) -> Callable[[_Place], Mistake]:
    return lambda place: Mistake(place.index, message, expected)


_Explain: TypeAlias = Callable[[_Place], Mistake]

#: By the beginning of what libyaml says.
_EXPLAINED: Mapping[str, _Explain] = {
    "mapping values are not allowed": _colon,
    "mapping keys are not allowed": _first_character,
    "block sequence entries are not allowed": _at("a list begins on a line of its own", "a new line before `- `"),
    "did not find expected key": _key,
    "did not find expected '-' indicator": _item,
    "did not find expected ','": _bracket,
    "did not find expected node content": _value,
    "did not find expected <document start>": _at("the command has ended before this", "the end of the file"),
    "did not find expected comment or line break": _at("a block text begins on the next line", "the end of the line"),
    "did not find expected alphabetic or numeric character": _first_character,
    "did not find expected hexdecimal number": _at("this escape is no character", _ESCAPE),
    "did not find the expected '>'": _tag,
    "found character that cannot start any token": _first_character,
    "found unknown escape character": _at("there is no such escape", _ESCAPE),
    "found invalid Unicode character escape code": _at("this escape is no character", _ESCAPE),
    "found undefined tag handle": _tag,
    "could not find expected ':'": _unquoted_key,
}
