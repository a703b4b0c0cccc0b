r"""Filter text to clauses, in one pass from left to right: time and memory grow with the text, whatever it says. Pure.

filter  = { clause }                       separated by blanks; all must hold
clause  = [ "-" ] field ":" test { "," test }     one test must hold; with "-" none may
test    = "*" | value [ "*" ] | ( ">" | ">=" | "<" | "<=" ) value | value ".." value
value   = bare | '"' { character | '\"' | '\\' } '"'
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from telemetry.errors import FilterInvalid
from telemetry.filters.fields import BY_NAME, Field, clause_of_word, nearest_field
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Operator, Starts, Test, Value

#: Characters of a filter, its clauses, and the tests of all of them, at most.
MAX_TEXT, MAX_CLAUSES, MAX_TESTS = 2000, 40, 200

_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BLANK: Final = re.compile(r"\s*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATOR: Final = re.compile(r"[<>]=?")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BARE: Final = re.compile(r'[^\s,"*]+')
#: Of what is ordered: up to the dots of a range.
_BARE_ORDERED: Final = re.compile(r'(?:(?!\.\.)[^\s,"*])+')
_ESCAPE: Final = re.compile(r"\\(.)")
_WORD: Final = re.compile(r"\S*")
_OPERATORS: Final[dict[str, Operator]] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}

#: Characters of what was found that a message quotes.
_SHOWN: Final = 40


def parse(text: str) -> Filter:
    """The filter that a text asks for; everything, if it is blank.

    Raises:
        FilterInvalid: It is not a filter; says where, what was expected and what may be meant.
    """
    return _Parser(text).whole()


class _Parser:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._tests = 0

    def whole(self) -> Filter:
        if len(self._text) > MAX_TEXT:
            self._refuse(MAX_TEXT, "the filter is too long", expected=f"at most {MAX_TEXT} characters")
        forbidden = _FORBIDDEN.search(self._text)
        if forbidden is not None:
            self._refuse(forbidden.start(), "the filter holds a character that no text has", expected="plain text")
        clauses: list[Clause] = []
        self._skip(_BLANK)
        while self._at < len(self._text):
            if len(clauses) == MAX_CLAUSES:
                self._refuse(self._at, "the filter has too many clauses", expected=f"at most {MAX_CLAUSES}")
            clauses.append(self._clause())
            self._skip(_BLANK)
        return Filter(tuple(clauses))

    def _clause(self) -> Clause:
        negated = self._take("-")
        field = self._field()
        tests = [self._test(field)]
        while self._take(","):
            tests.append(self._test(field))
        if self._at < len(self._text) and not self._text[self._at].isspace():
            self._refuse(self._at, f"{self._found(self._at)!r} does not follow a value", expected="a blank or a comma")
        return Clause(field.name, tuple(tests), negated)

    def _field(self) -> Field:
        start = self._at
        name = self._skip(_NAME)
        if not name or not self._take(":"):
            word = self._found(start)
            said = f"{word!r} is not a clause" if word else "a clause is missing"
            meant = clause_of_word(word) or (nearest_field(name) if name else None)
            self._refuse(start, said, expected="field:value, such as outcome:failed", nearest=meant)
        field = BY_NAME.get(name.lower())
        if field is None:
            expected = "one of the fields of docs/reference/filters.md"
            self._refuse(start, f"there is no field {name[:_SHOWN]!r}", expected=expected, nearest=nearest_field(name))
        return field

    def _test(self, field: Field) -> Test:
        self._tests += 1
        start = self._at
        if self._tests > MAX_TESTS:
            self._refuse(start, "the filter has too many values", expected=f"at most {MAX_TESTS}")
        operator = self._skip(_OPERATOR)
        if operator:
            self._require_order(field, start, f"{operator} does not apply to {field.name}")
            return Compare(_OPERATORS[operator], self._value(field, self._at, *self._token(field)))
        if self._take("*"):
            return Exists()
        text, is_quoted = self._token(field)
        if self._take("*"):
            return self._prefix(field, start, text)
        low = self._value(field, start, text, is_quoted)
        if not self._text.startswith("..", self._at):
            return Is(low)
        self._require_order(field, start, f"{field.name} has no ranges")
        self._at += 2
        high = self._value(field, self._at, *self._token(field))
        return Between(low, high)

    def _prefix(self, field: Field, start: int, text: str) -> Starts:
        if not field.kind.has_prefixes:
            self._refuse(start, f"{field.name} is not found by how it begins", expected=field.kind.expected)
        try:
            return Starts(str(field.kind.read(text)))
        except ValueError:
            self._refuse(start, f"{self._found(start)!r} begins no {field.name}", expected=field.kind.expected)

    def _token(self, field: Field) -> tuple[str, bool]:
        """Text of a value, and whether it stood in quotes."""
        start = self._at
        if not self._text.startswith('"', start):
            return self._skip(_BARE_ORDERED if field.kind.is_ordered else _BARE), False
        quoted = _QUOTED.match(self._text, start)
        if quoted is None:
            self._refuse(
                start, "the quotes do not end, or hold an odd backslash", expected='"…", with \\" and \\\\ inside'
            )
        self._at = quoted.end()
        return _ESCAPE.sub(r"\1", quoted[1]), True

    def _value(self, field: Field, start: int, text: str, is_quoted: bool) -> Value:
        if not text and not is_quoted:
            self._refuse(start, f"a value of {field.name} is missing", expected=field.kind.expected)
        try:
            return field.kind.read(text)
        except ValueError:
            said = f"{text[:_SHOWN]!r} is not a value of {field.name}"
            self._refuse(start, said, expected=field.kind.expected, nearest=field.kind.nearest(text))

    def _require_order(self, field: Field, start: int, said: str) -> None:
        if not field.kind.is_ordered:
            self._refuse(start, said, expected=field.kind.expected)

    def _take(self, character: str) -> bool:
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _found(self, start: int) -> str:
        match = _WORD.match(self._text, start, start + _SHOWN)
        return match[0] if match else ""

    def _refuse(self, start: int, said: str, *, expected: str, nearest: str | None = None) -> NoReturn:
        raise FilterInvalid(said, text=self._text, offset=start, expected=expected, nearest=nearest)
