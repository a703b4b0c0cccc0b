"""Reading the keys of a mapping one by one: each getter gives the value, or notes what is wrong and gives none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TypeVar

from dsl.checking.shape import MAX_DURATION, Choice, Choices, Duration, Shape, Text, Whole
from dsl.command import Position
from dsl.faults import Faults, listed, shown
from dsl.nodes import ListNode, MappingNode, Node, Path, ScalarNode
from telemetry.settings import format_duration, parse_duration

V = TypeVar("V")


def kind_of(node: Node) -> str:
    """A node's type in words, with its value if that is short."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    value = node.value()
    if value is None:
        return "nothing"
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)


def found_in(node: Node) -> str:
    """What a fault says was there."""
    value = node.value() if isinstance(node, ScalarNode) else None
    return kind_of(node) if value is None else shown(value)


def cannot_be(name: str, node: Node) -> str:
    """What is said of a value that is not allowed: `limit` cannot be 0."""
    return f"`{shown(name)}` cannot be {kind_of(node)}"


class Fields:
    """A mapping that is being read.

    Args:
        node: The mapping.
        path: Where it is in the document.
        faults: Where what is wrong goes.
        shape: Its keys; no other can be read then. None where a step type says what they are.
    """

    def __init__(self, node: MappingNode, path: Path, faults: Faults, shape: Shape | None = None) -> None:
        self.node = node
        self.path = path
        self.faults = faults
        #: Keys that are misspelt: one mistake is one fault, so they are not missed.
        self.meant: set[str] = set()
        self._shape = shape

    @classmethod
    def of(cls, node: MappingNode, path: Path, faults: Faults, shape: Shape, *, told: Collection[str] = ()) -> Fields:
        """Begin to read a mapping: what is not a key of its shape, and what is missing, is noted.

        Args:
            node: The mapping.
            path: Where it is in the document.
            faults: Where what is wrong goes.
            shape: Its keys.
            told: Other keys, of which nothing more is said.
        """
        fields = cls(node, path, faults, shape)
        fields.keys({name: key.required for name, key in shape.keys.items()}, of=shape.name, told=told)
        return fields

    def keys(self, known: Mapping[str, bool], *, of: str, told: Collection[str] = ()) -> None:
        """Every key must be a known one, and those that are required must be there.

        Args:
            known: Keys, and whether each is required.
            of: What the mapping is called.
            told: Other keys, of which nothing more is said.
        """
        self._note_unknown(known, of, told)
        for name, is_required in known.items():
            if is_required and name not in self.meant:
                self.required(name, of=of)

    def _note_unknown(self, known: Collection[str], of: str, told: Collection[str]) -> None:
        for name, entry in self.node.entries.items():
            if name not in known and name not in told:
                suggestion = self.faults.add(
                    "command.unknown_key",
                    f"`{shown(name)}` is not a key of {of}",
                    (*self.path, name),
                    entry.key.position,
                    found=name,
                    expected=listed(tuple(known)),
                    known=known,
                )
                if suggestion is not None:
                    self.meant.add(suggestion)

    def required(self, name: str, *, of: str) -> Node | None:
        """A value that must be there."""
        node = self.node.get(name)
        if node is None:
            self.fault("command.missing_key", f"{of} has no `{name}`", name, self.node.position, expected=name)
        return node

    def get(self, name: str) -> Node | None:
        """The value of a key, if it is there."""
        if self._shape is not None and name not in self._shape.keys:
            raise KeyError(name)
        return self.node.get(name)

    def text(self, name: str) -> str | None:
        """A text, if the key is there."""
        rule, node = self.rule(name, Text), self.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, str):
            hint = ": quote it" if isinstance(node, ScalarNode) and value is not None else ""
            self.wrong_type(name, node, f"a text{hint}")
            return None
        if not rule.allows(value):
            self.fault("command.wrong_value", cannot_be(name, node), name, node.position, value, rule.expected)
            return None
        return value

    def duration(self, name: str) -> timedelta | None:
        """A duration such as `30s`, more than none, if the key is there."""
        _, node = self.rule(name, Duration), self.get(name)
        if node is None:
            return None
        value = node.value()
        try:
            duration = parse_duration(value) if isinstance(value, str) else None
        except (ValueError, OverflowError):
            duration = None
        if duration is None or not timedelta(0) < duration <= MAX_DURATION:
            expected = f"a number and a unit (us, ms, s, m, h, d) such as 30s, at most {format_duration(MAX_DURATION)}"
            found = found_in(node)
            self.fault("command.wrong_value", f"`{name}` is not a duration", name, node.position, found, expected)
            return None
        return duration

    def whole(self, name: str) -> int | None:
        """A whole number, if the key is there."""
        rule, node = self.rule(name, Whole), self.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, int) or isinstance(value, bool) or not rule.least <= value <= rule.most:
            expected = f"a whole number from {rule.least} to {rule.most}"
            self.fault("command.wrong_value", cannot_be(name, node), name, node.position, found_in(node), expected)
            return None
        return value

    def choice(self, name: str) -> str | None:
        """One of a few words, if the key is there."""
        rule, node = self.rule(name, Choice), self.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, str) or value not in rule.options:
            self.faults.add(
                "command.wrong_value",
                cannot_be(name, node),
                (*self.path, name),
                node.position,
                found=found_in(node),
                expected=listed(rule.options),
                known=rule.options,
            )
            return None
        return value

    def choices(self, name: str) -> tuple[str, ...] | None:
        """Some of a few words, as far as they are among them, if the key is there."""
        rule, items = self.rule(name, Choices), self.items(name)
        if items is None:
            return None
        if not items:
            position = self.node.entries[name].value.position
            expected = f"at least one of {', '.join(rule.options)}"
            self.fault("command.wrong_value", f"`{name}` is empty", name, position, None, expected)
        words: list[str] = []
        for index, node in enumerate(items):
            value = node.value()
            if isinstance(value, str) and value in rule.options and value not in words:
                words.append(value)
                continue
            is_here = value in words
            self.faults.add(
                "command.wrong_value",
                f"`{value}` is in `{name}` already" if is_here else cannot_be(f"{name}[]", node),
                (*self.path, name, index),
                node.position,
                found=found_in(node),
                expected="each of them once" if is_here else listed(rule.options),
                known=() if is_here else rule.options,
            )
        return tuple(words)

    def mapping(self, name: str) -> Fields | None:
        """A mapping, if the key is there; when it has a shape, checked against that."""
        node = self.get(name)
        if node is None:
            return None
        if not isinstance(node, MappingNode):
            self.wrong_type(name, node, "a mapping")
            return None
        rule = None if self._shape is None else self._shape.keys[name].value
        path = (*self.path, name)
        return Fields.of(node, path, self.faults, rule) if isinstance(rule, Shape) else Fields(node, path, self.faults)

    def items(self, name: str) -> tuple[Node, ...] | None:
        """The items of a list, if the key is there."""
        node = self.get(name)
        if node is None:
            return None
        if not isinstance(node, ListNode):
            self.wrong_type(name, node, "a list")
            return None
        return node.items

    def wrong_type(self, name: str, node: Node, expected: str) -> None:
        """Note a value of the wrong type."""
        self.fault("command.wrong_type", cannot_be(name, node), name, node.position, found_in(node), expected)

    def fault(  # noqa: PLR0913 - what a fault can say
        self,
        code: str,
        message: str,
        name: str,
        position: Position,
        found: str | None = None,
        expected: str | None = None,
    ) -> None:
        """Note something about a key."""
        self.faults.add(code, message, (*self.path, name), position, found=found, expected=expected)

    def rule(self, name: str, kind: type[V]) -> V:
        """What a key may hold; reading it as anything else, or one that no table has, is a mistake of ours."""
        rule = self._shape.keys[name].value if self._shape is not None else None
        if not isinstance(rule, kind):
            raise TypeError(f"{name} is not read as {kind.__name__}")
        return rule
