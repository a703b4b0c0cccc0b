"""Weir's own tables, read from the migrations that make them: what no configuration may reach."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent

#: Made by the runner, not by a migration.
_OF_THE_RUNNER = frozenset({"schema_migrations"})

_CREATE = re.compile(r"^\s*create\s+(?:table|view)\s+(?:if\s+not\s+exists\s+)?(\w+)", re.IGNORECASE | re.MULTILINE)


@cache
def own_tables() -> frozenset[str]:
    """Names of all tables and views that the migrations make; partitions that are made later are not among them."""
    texts = (path.read_text(encoding="utf-8") for path in _FOLDER.glob("[0-9]*.sql"))
    return _OF_THE_RUNNER.union(*(_CREATE.findall(text) for text in texts))
