"""Values of a text that remember where in it they stand: what `dsl.document` makes and `dsl.check` reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from dsl.command import Position

#: A place in a document: keys and list indexes, from the root.
Path: TypeAlias = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w$-]+")
_QUOTES = ("'", '"')

#: Characters of an escape in a double-quoted scalar, backslash included, where they are not 2.
_ESCAPES = {"x": 4, "u": 6, "U": 10}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value and its place.

    Attributes:
        source: The whole text.
        start: Index of its first character in `source`.
        end: Index after its last.
    """

    source: str
    start: int
    end: int

    @property
    def position(self) -> Position:
        """Line and column of its first character."""
        return position_in(self.source, self.start)

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """The value as plain JSON types."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode(Node):
    """A text, number, bool or null.

    Attributes:
        scalar: The value.
        style: `'`, `"`, `|` or `>`; empty when it was written plain.
    """

    scalar: str | int | float | bool | None
    style: str = ""

    def value(self) -> str | int | float | bool | None:
        return self.scalar


@dataclass(frozen=True, slots=True, eq=False)
class ListNode(Node):
    """A list."""

    items: tuple[Node, ...]

    def value(self) -> list[Any]:
        return [item.value() for item in self.items]


class Entry(NamedTuple):
    """A key and what it maps to."""

    key: ScalarNode
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class MappingNode(Node):
    """A mapping with text keys, in the order of the text."""

    entries: Mapping[str, Entry]

    def value(self) -> dict[str, Any]:
        return {name: entry.value.value() for name, entry in self.entries.items()}

    def get(self, name: str) -> Node | None:
        """The value of a key, if it is there."""
        entry = self.entries.get(name)
        return None if entry is None else entry.value


def find(node: Node, path: Path) -> Node:
    """The node at a path below `node`, or the last one on the way there."""
    for part in path:
        if isinstance(node, MappingNode) and part in node.entries:
            node = node.entries[str(part)].value
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            break
    return node


def format_path(path: Path) -> str:
    """A path as people write it: `steps[0].with.title`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part[:40]!r}]"
    return text


def position_in(text: str, index: int) -> Position:
    """Line and column of a character."""
    return Position(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


class Locator:
    """Finds characters of a scalar's text in the file, past quotes, escapes, indentation and folding."""

    __slots__ = ("_node", "_offsets")

    def __init__(self, node: ScalarNode) -> None:
        self._node = node
        self._offsets: tuple[int, ...] = ()

    def __call__(self, index: int) -> Position:
        """Where in the file character `index` of the text stands."""
        if not self._offsets:
            self._offsets = tuple(_offsets(self._node))
        offset = self._offsets[max(0, min(index, len(self._offsets) - 1))]
        return position_in(self._node.source, min(self._node.start + offset, len(self._node.source)))


def _offsets(node: ScalarNode) -> Iterator[int]:
    """For each character of a scalar's text, and its end, the offset of what made it in the raw text."""
    raw = node.source[node.start : node.end]
    at = 0
    if node.style in _QUOTES:
        at = 1
    elif node.style:
        at = raw.find("\n") + 1
    for char in node.scalar if isinstance(node.scalar, str) else "":
        at = _skip_layout(raw, at, char, node.style)
        yield at
        if node.style == '"' and raw[at : at + 1] == "\\":
            at += _ESCAPES.get(raw[at + 1 : at + 2], 2)
        elif node.style == "'" and char == "'":
            at += 2
        else:
            at += 1
    yield at


def _skip_layout(raw: str, at: int, char: str, style: str) -> int:
    """Past indentation, line ends and folding that are not `char` itself."""
    while at < len(raw):
        if style == '"' and raw.startswith("\\\n", at):
            at += 2
            while raw[at : at + 1] in {" ", "\t"}:
                at += 1
        elif raw[at] == char or not raw[at].isspace() or (char.isspace() and not raw[at + 1 : at + 2].isspace()):
            break
        else:
            at += 1
    return at
