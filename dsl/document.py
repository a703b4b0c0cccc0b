"""YAML text to a tree of nodes that remember where in the text they stand.

libyaml splits the text into events; what they mean is decided here, because YAML's own rules surprise: scalars follow
YAML 1.2 (`on` and `2024-01-01` are text, `010` is not eight), and what a command file never needs is a fault: anchors
and aliases, tags, merge keys, several documents, directives, keys that are not text, repeated keys.

Whatever the bytes, `read` returns: it never raises, nests deeper than `max_depth` or holds more than `max_nodes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from dsl.errors import Fault
from dsl.nodes import Entry, ListNode, MappingNode, Node, Path, ScalarNode, format_path, position_in
from dsl.settings import DslSettings
from dsl.values import MAX_INT, MIN_INT
from dsl.yaml_syntax import explain

#: Characters of what was found that a fault shows.
_SHOWN = 60

#: Control characters, lone surrogates, separators that YAML 1.1 reads as line ends, and what is no character.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
#: libyaml compares each %TAG line with all before it: a minute for a megabyte of them.
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_UNQUOTED = re.compile(r"(?:^|[:\-,\[{?])\s*\{[{%]", re.MULTILINE)
#: A template whose line, or place among others, ends behind it.
_CLOSED = re.compile(r"(\{\{.*?\}\})\s*(?:$|[,\]}#])")

_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
#: Characters of the longest 64-bit int; a longer one is out of range without being converted.
_MAX_INT_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Document:
    """A text, read.

    Attributes:
        text: As given, without a byte order mark; empty when it is not text at all.
        root: Its value; none when the text is not YAML or a limit was passed.
        faults: What is wrong with it as YAML.
    """

    text: str
    root: Node | None
    faults: tuple[Fault, ...] = ()


def read(text: str | bytes, settings: DslSettings) -> Document:
    """Read one YAML document. Never raises: what is wrong is in `faults`."""
    if len(text) > settings.max_file_bytes:
        expected = f"at most {settings.max_file_bytes} bytes"
        return _refused("file.too_large", "the file is too large", found="more bytes", expected=expected)
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            where = position_in(before := error.object[: error.start].decode(), len(before))
            found = f"byte {error.object[error.start]:02X}"
            message = f"the file is not UTF-8 text: {found} cannot stand here"
            return _refused(
                "file.not_utf8", message, line=where.line, column=where.column, found=found, expected="UTF-8"
            )
    text = text.removeprefix("\ufeff")
    match = _FORBIDDEN.search(text)
    if match is not None:
        found = f"U+{ord(match.group()):04X}"
        where = position_in(text, match.start())
        message = f"{found}, a control or invisible character, may not be in a command file"
        expected = "none, or its escape between double quotes"
        return _refused(
            "file.forbidden_character", message, line=where.line, column=where.column, found=found, expected=expected
        )
    match = _DIRECTIVE.search(text)
    if match is not None:
        line = position_in(text, match.start()).line
        return _refused(
            "yaml.directive", "a line may not begin with %", line=line, column=1, found="%", expected="a key or a value"
        )
    return _Composer(text, settings).compose()


def _refused(code: str, message: str, **facts: Any) -> Document:  # noqa: ANN401 - the fields of a fault
    return Document("", None, (Fault(code, message, **facts),))


class _LimitPassed(Exception):
    """Reading stops here; the fault is noted."""


@dataclass
class _Composer:
    """Builds the tree from libyaml's events, depth first."""

    text: str
    settings: DslSettings
    faults: list[Fault] = field(default_factory=list)
    path: list[str | int] = field(default_factory=list)
    nodes: int = 0

    def compose(self) -> Document:
        root: Node | None = None
        try:
            root = self._document(yaml.parse(self.text, Loader=yaml.CSafeLoader))
        except yaml.YAMLError as error:
            self._syntax_fault(error)
        except _LimitPassed:
            pass
        return Document(self.text, root, tuple(self.faults))

    def _document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                self._add(
                    "yaml.several_documents", "a command file holds one document", _start(event), expected="the end"
                )
                raise _LimitPassed
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events)
        if root is None or (isinstance(root, ScalarNode) and root.scalar is None):
            self._add("file.empty", "the file is empty", 0, expected="a command")
            return None
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event]) -> Node:
        start = _start(event)
        self.nodes += 1
        if self.nodes > self.settings.max_nodes:
            most = self.settings.max_nodes
            self._add("yaml.too_many_nodes", f"there are more than {most} values", start, expected=f"at most {most}")
            raise _LimitPassed
        if isinstance(event, yaml.AliasEvent):
            message = "aliases are not used in command files: repeat the value"
            self._add("yaml.alias", message, start, expected="the value itself")
            return ScalarNode(self.text, start, _end(event), self.text[start : _end(event)])
        if getattr(event, "anchor", None) is not None:
            self._add("yaml.anchor", "anchors are not used in command files", start, expected="the value alone")
        if getattr(event, "tag", None) is not None:
            self._add("yaml.tag", "tags are not used in command files", start, expected="the value alone")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(self.path) >= self.settings.max_depth:
            most = self.settings.max_depth
            self._add("yaml.too_deep", f"values are nested deeper than {most}", start, expected=f"at most {most}")
            raise _LimitPassed
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(start, events)
        return self._mapping(start, events)

    def _below(self, part: str | int, event: yaml.Event, events: Iterator[yaml.Event]) -> Node:
        self.path.append(part)
        node = self._node(event, events)
        self.path.pop()
        return node

    def _list(self, start: int, events: Iterator[yaml.Event]) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._below(len(items), event, events))
        return ListNode(self.text, start, _end(event), tuple(items))

    def _mapping(self, start: int, events: Iterator[yaml.Event]) -> Node:
        entries: dict[str, Entry] = {}
        faults_before = len(self.faults)
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            name, key = self._key(event, events, entries)
            value = self._below(name, next(events), events)
            entries.setdefault(name, Entry(key, value))
        end = _end(event)
        if not self.text.startswith("{{", start):
            return MappingNode(self.text, start, end, MappingProxyType(entries))
        # To YAML an unquoted `{{ x }}` is a mapping in a mapping. Say so once, and go on as if it had been quoted.
        del self.faults[faults_before:]
        self._unquoted(start)
        return ScalarNode(self.text, start, end, self.text[start:end])

    def _key(
        self, event: yaml.Event, events: Iterator[yaml.Event], entries: Mapping[str, Entry]
    ) -> tuple[str, ScalarNode]:
        key = self._below("?", event, events)
        if not isinstance(key, ScalarNode) or not isinstance(key.scalar, str):
            self._add("yaml.key_not_text", "a key must be text: quote it", key.start, expected="a text")
            return "?", ScalarNode(self.text, key.start, key.end, "?")
        self.nodes -= 1  # what is counted are values
        if key.scalar == "<<" and not key.style:
            self._add(
                "yaml.merge_key", "merge keys are not used in command files", key.start, expected="the keys themselves"
            )
        elif key.scalar in entries:
            self.path.append(key.scalar)
            message = f"`{key.scalar[:_SHOWN]}` is given twice"
            self._add("yaml.duplicate_key", message, key.start, expected="each key once")
            self.path.pop()
        return key.scalar, key

    def _scalar(self, event: yaml.ScalarEvent) -> ScalarNode:
        start, style, text = _start(event), event.style or "", event.value
        value: str | int | float | bool | None = text
        if not style and event.tag is None:
            value = self._resolve(text, start)
        elif "\0" in text:
            message = "text may not hold a NUL character"
            self._add("file.forbidden_character", message, start, found="U+0000", expected="text without it")
        return ScalarNode(self.text, start, _end(event), value, style)

    def _resolve(self, text: str, start: int) -> str | int | float | bool | None:
        """A plain scalar by YAML 1.2's core schema, without its octal and hexadecimal forms."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            value = int(text) if len(text) <= _MAX_INT_LENGTH else MAX_INT + 1
            if MIN_INT <= value <= MAX_INT:
                return value
            message = "a whole number has at most 64 bits: quote it to keep it as text"
            self._add("yaml.number_too_large", message, start, expected=f"from {MIN_INT} to {MAX_INT}")
        elif _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
            message = "the number is too large: quote it to keep it as text"
            self._add("yaml.number_too_large", message, start, expected="a finite number")
        elif _NOT_JSON.fullmatch(text):
            message = "JSON has no such number: quote it to keep it as text"
            self._add("yaml.not_a_number", message, start, expected="a finite number")
        return text

    def _add(
        self, code: str, message: str, start: int, *, found: str | None = None, expected: str | None = None
    ) -> None:
        position = position_in(self.text, start)
        if found is None:
            found = self.text[start : start + _SHOWN].split("\n", 1)[0].strip() or None
        path: Path = tuple(self.path)
        self.faults.append(Fault(code, message, format_path(path), position.line, position.column, found, expected))

    def _syntax_fault(self, error: yaml.YAMLError) -> None:
        mistake = explain(self.text, error)
        stopped = getattr(error, "problem_mark", None)
        start = mistake.index if stopped is None else min(stopped.index, len(self.text))
        unquoted = self._unquoted_in_line_of(start) or self._unquoted_in_line_of(mistake.index)
        if unquoted is not None:
            if self.faults and self.faults[-1].code == "yaml.unquoted_template":
                return  # it is what made the text behind it unreadable
            self._unquoted(unquoted.end() - 2)
        elif self.text.startswith("\t", start):
            self._add("yaml.tab", "a tab cannot indent or separate here", start, found="a tab", expected="spaces")
        else:
            self._add(mistake.code, mistake.message, mistake.index, expected=mistake.expected)

    def _unquoted_in_line_of(self, index: int) -> re.Match[str] | None:
        begin, end = self.text.rfind("\n", 0, index) + 1, self.text.find("\n", index)
        return _UNQUOTED.search(self.text, begin, end if end >= 0 else len(self.text))

    def _unquoted(self, start: int) -> None:
        self._add("yaml.unquoted_template", "quote the template", start, expected=_quoted(self.text, start))


def _quoted(text: str, start: int) -> str:
    """What should be where an unquoted template begins, shortened: all of its line, or of its place in `[]` or `{}`."""
    line = text[start : text.find("\n", start) % (len(text) + 1)]
    closed = _CLOSED.match(line)
    value = (line if closed is None else closed[1]).rstrip()
    shown = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
    return f'"{shown}"' if '"' not in value else "'{}'".format(shown.replace("'", "''"))


def _start(event: yaml.Event) -> int:
    """Index of an event's first character; libyaml always gives it."""
    return 0 if event.start_mark is None else event.start_mark.index


def _end(event: yaml.Event) -> int:
    return 0 if event.end_mark is None else event.end_mark.index
