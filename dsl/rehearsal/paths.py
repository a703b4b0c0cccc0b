"""Paths of steps as fixtures write them: `each[0].save`, `each[*].save` for every item."""

from __future__ import annotations

import re

_ITEM = re.compile(r"\[(?:[0-9]+|\*)\]")


def of_every_item(path: str) -> str:
    """A path with `*` in place of the numbers of items."""
    return _ITEM.sub("[*]", path)


def without_items(path: str) -> str:
    """A path that says which step it is, of whatever item."""
    return _ITEM.sub("", path)
