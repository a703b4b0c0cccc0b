"""Reading the keys of a mapping one by one: each getter gives the value, or notes what is wrong and gives none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import timedelta

from dsl.command import Position
from dsl.faults import Faults, listed, shown
from dsl.nodes import ListNode, MappingNode, Node, Path, ScalarNode
from telemetry.settings import format_duration, parse_duration

#: The longest duration a command may name.
MAX_DURATION = timedelta(days=365)


def kind_of(node: Node) -> str:
    """A node's type in words, with its value if that is short."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    value = node.value()
    if value is None:
        return "nothing"
    return f"the text {shown(value)!r}" if isinstance(value, str) else shown(value)


class Fields:
    """A mapping that is being read.

    Args:
        node: The mapping.
        path: Where it is in the document.
        faults: Where what is wrong goes.
    """

    def __init__(self, node: MappingNode, path: Path, faults: Faults) -> None:
        self.node = node
        self.path = path
        self.faults = faults

    def only(self, known: Collection[str], *, of: str) -> None:
        """Every key must be a known one."""
        for name, entry in self.node.entries.items():
            if name not in known:
                self.faults.add(
                    "command.unknown_key",
                    f"`{shown(name)}` is not a key of {of}",
                    (*self.path, name),
                    entry.key.position,
                    found=name,
                    expected=listed(tuple(known)),
                    known=known,
                )

    def required(self, name: str, *, of: str) -> Node | None:
        """A value that must be there."""
        node = self.node.get(name)
        if node is None:
            self.fault("command.missing_key", f"{of} has no `{name}`", name, self.node.position, expected=name)
        return node

    def text(self, name: str, *, max_length: int, pattern: re.Pattern[str] | None = None, form: str = "") -> str | None:
        """A text, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, str):
            hint = ": quote it" if isinstance(node, ScalarNode) and value is not None else ""
            self.wrong_type(name, node, f"a text{hint}")
            return None
        if not value or len(value) > max_length or (pattern is not None and not pattern.fullmatch(value)):
            expected = form or f"1 to {max_length} characters"
            self.fault("command.wrong_value", f"`{name}` is not allowed", name, node.position, value, expected)
            return None
        return value

    def duration(self, name: str) -> timedelta | None:
        """A duration such as `30s`, more than none, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        value = node.value()
        try:
            duration = parse_duration(value) if isinstance(value, str) else None
        except (ValueError, OverflowError):
            duration = None
        if duration is None or not timedelta(0) < duration <= MAX_DURATION:
            expected = f"a number and a unit (us, ms, s, m, h, d) such as 30s, at most {format_duration(MAX_DURATION)}"
            found = shown(value) if isinstance(node, ScalarNode) else kind_of(node)
            self.fault("command.wrong_value", f"`{name}` is not a duration", name, node.position, found, expected)
            return None
        return duration

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A whole number, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            expected = f"a whole number from {least} to {most}"
            self.fault("command.wrong_value", f"`{name}` is not allowed", name, node.position, kind_of(node), expected)
            return None
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """One of a few words, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        value = node.value()
        if not isinstance(value, str) or value not in choices:
            self.faults.add(
                "command.wrong_value",
                f"`{name}` is not allowed",
                (*self.path, name),
                node.position,
                found=value if isinstance(value, str) else kind_of(node),
                expected=listed(choices),
                known=choices,
            )
            return None
        return value

    def mapping(self, name: str) -> Fields | None:
        """A mapping, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        if not isinstance(node, MappingNode):
            self.wrong_type(name, node, "a mapping")
            return None
        return Fields(node, (*self.path, name), self.faults)

    def items(self, name: str) -> tuple[Node, ...] | None:
        """The items of a list, if the key is there."""
        node = self.node.get(name)
        if node is None:
            return None
        if not isinstance(node, ListNode):
            self.wrong_type(name, node, "a list")
            return None
        return node.items

    def wrong_type(self, name: str, node: Node, expected: str) -> None:
        """Note a value of the wrong type."""
        message = f"`{name}` is {kind_of(node)}"
        self.fault("command.wrong_type", message, name, node.position, kind_of(node), expected)

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
