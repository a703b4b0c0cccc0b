"""docs/reference/settings.md: every setting, from the dataclasses that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args, get_origin, get_type_hints

from api.settings import SECTIONS
from docs.generators.markdown import code, document, table
from dsl.declarations import TableSettings
from dsl.reference.docstrings import docstring_of
from telemetry.settings import format_duration, settings_of, variable_of

INTRODUCTION = """
Nothing has to be set. A setting is looked for, in this order:

1. in the environment, as `WEIR_…`;
2. in the file that `WEIR_…_FILE` names: for secrets that something else writes;
3. in `weir.toml` in the folder Weir is started in, under the section's name;
4. then it has its default.

All of them are checked when a process starts; everything that is wrong is named at once, with the nearest right name,
and a variable `WEIR_…` that names no setting is an error too. Durations are a number and a unit: `50ms`, `30s`, `5m`,
`1h`, `14d`. Booleans are `true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`. Lists have commas between their parts.
Secrets never appear in messages or logs.
"""

#: Values of a list that is only a default when it has them all.
_MANY = 3
_BOUNDS = {"minimum": "at least", "maximum": "at most"}


def page() -> str:
    """The page."""
    return document("Settings", "the settings classes", INTRODUCTION, [*map(_section, SECTIONS), _tables()])


def _tables() -> str:
    """What `weir.toml` may say of each table: no environment variable does."""
    says = docstring_of(TableSettings).summary
    heading = (
        f"## Tables\n\n{says} In `[tables.NAME]` in `weir.toml`, one for each ([how](../how-to/declare-tables.md))."
    )
    rows = (row[1:] for row in _rows(TableSettings))
    return f"{heading}\n\n{table(('key', 'value', 'default', 'meaning'), rows)}"


def _section(section: type[Any]) -> str:
    where = f"`[{section.section}]` in `weir.toml`" if section.section else "the top level of `weir.toml`"
    heading = f"## {section.__name__.removesuffix('Settings')}\n\n{docstring_of(section).summary} In {where}."
    return f"{heading}\n\n{table(('variable', 'key', 'value', 'default', 'meaning'), _rows(section))}"


def _rows(section: type[Any]) -> Iterator[tuple[str, ...]]:
    hints = get_type_hints(section)
    for spec in settings_of(section):
        yield (
            code(variable_of(section.section, spec.name)),
            code(spec.name),
            _value(hints[spec.name], spec),
            _default(spec.default),
            spec.metadata["description"],
        )


def _value(kind: Any, spec: dataclasses.Field[Any]) -> str:  # noqa: ANN401 - any annotation
    facts = spec.metadata
    if facts["choices"] and get_origin(kind) is tuple:
        return "list of " + ", ".join(map(code, facts["choices"]))
    if facts["choices"]:
        return " or ".join(map(code, facts["choices"]))
    bounds = [f"{word} {_plain(facts[bound])}" for bound, word in _BOUNDS.items() if facts[bound] is not None]
    return ", ".join([_name(kind), *bounds, *["secret"] * facts["secret"]])


def _name(kind: Any) -> str:  # noqa: ANN401 - any annotation
    if get_origin(kind) is tuple:
        return "list"
    kind = next((arg for arg in get_args(kind) if arg is not type(None)), kind)
    names = {"timedelta": "duration", "int": "whole number", "float": "number", "bool": "boolean", "str": "text"}
    name = getattr(kind, "__name__", str(kind))
    return names.get(name, name.lower())


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return "all" if len(value) > _MANY else code(",".join(map(str, value)))
    return code(_plain(value))


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case timedelta():
            return format_duration(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)
