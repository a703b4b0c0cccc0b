"""Why a rule that can be meant may never fire, or never be kept quiet: what it names is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import Connection

from api.resources.context import resources
from dsl import fragments
from dsl.errors import CommandInvalid, UnknownCommand
from telemetry.alerts import store
from telemetry.alerts.rule import Rule


def warnings_of(connection: Connection[Any], rule: Rule) -> list[str]:
    """A sentence for each thing that the rule names and that is not there; it may be there later."""
    return [*_about_requests(connection, rule), *_about_parents(connection, rule)]


def _about_requests(connection: Connection[Any], rule: Rule) -> Iterator[str]:
    if rule.space is not None:
        found = connection.execute(fragments.SQL["find_space"], {"name": rule.space}).fetchone()
        if found is None:
            yield f"no space {rule.space!r} yet"
    # Of chat requests it is a model, and nobody has a list of those.
    if rule.command is not None and rule.component != "chat" and not _is_command(rule.command):
        yield f"no command {rule.command!r} yet" + ("" if rule.component else ", unless a model is meant")


def _about_parents(connection: Connection[Any], rule: Rule) -> Iterator[str]:
    if not rule.parents:
        return
    known = {stored.rule.name: stored.rule for stored in store.list_rules(connection)}
    for name in dict.fromkeys(rule.parents):
        parent = known.get(name)
        if parent is None:
            yield f"no rule {name!r} yet: it mutes nothing"
        elif not parent.enabled:
            yield f"the rule {name!r} is disabled: it mutes nothing"
        elif rule.name in parent.parents:
            yield f"the rule {name!r} is muted by this one, too: whichever fires, nobody may be told"


def _is_command(slug: str) -> bool:
    try:
        resources().library.get(slug)
    except UnknownCommand:
        return False
    except CommandInvalid:
        return True  # its file is faulty, and there
    return True
