"""The step types of this installation, for commands that read command files without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.terminal import Terminal, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dsl.step import Step


def installed_step_types() -> Mapping[str, Step]:
    """Built-in step types and those of installed packages, by name; what is broken is told on standard error."""
    from dsl.extensions import find_step_types

    found = find_step_types()
    for broken in found.broken:
        Terminal.of_stderr().say(clean(str(broken)), "failed")
    return found.registry
