"""Mapping files of `weir telemetry import`: read, checked, and every fault shown where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from api.cli.faults import near, render
from api.cli.main import EXPECTED
from api.cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from dsl.errors import Fault
    from dsl.nodes import Node
    from dsl.settings import DslSettings
    from telemetry.adapters.mapping import Mapping, MappingFault


def read_mapping(path: Path, settings: DslSettings) -> Mapping:
    """The mapping of a YAML file; what is wrong with it is printed, all of it.

    Raises:
        BadParameter: The file cannot be read.
        Exit: It has faults.
    """
    from dsl.document import read
    from telemetry.adapters.mapping import parse

    try:
        content = path.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--mapping") from error
    document = read(content, settings)
    if document.root is None or document.faults:
        _refuse(path, document.text, document.faults)
    mapping, faults = parse(document.root.value())
    if mapping is None:
        root = document.root
        _refuse(path, document.text, tuple(_placed(fault, root) for fault in faults))
    return mapping


def _placed(fault: MappingFault, root: Node) -> Fault:
    """A fault with the line and column of what it is about."""
    from dsl.errors import Fault
    from dsl.nodes import MappingNode, find, format_path

    node = find(root, fault.path)
    above = find(root, fault.path[:-1])
    if fault.path and isinstance(above, MappingNode) and fault.path[-1] in above.entries:
        node = above.entries[str(fault.path[-1])].key
    place = format_path(fault.path)
    return Fault(
        fault.code,
        f"{place}: {fault.message}" if place else fault.message,
        place,
        node.position.line,
        node.position.column,
        expected=fault.expected,
        nearest=fault.nearest,
    )


def _refuse(path: Path, text: str, faults: tuple[Fault, ...]) -> NoReturn:
    terminal, lines = Terminal.of_stderr(), text.split("\n")
    for fault in sorted(faults, key=lambda each: (each.line or 0, each.column or 0)):
        head, *rest = render(fault, near(path), lines)
        terminal.say(head, "failed")
        for line in rest:
            terminal.say(line)
    terminal.say(f"{near(path)} has {plural(len(faults), 'fault')}; nothing was imported", "failed")
    raise click.exceptions.Exit(EXPECTED)
