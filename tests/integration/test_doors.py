"""Nothing takes in what people write without being a door of the privacy canary (`tests/fixtures/doors.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from fixtures.apis import Api
from fixtures.doors import COMMAND_LINES, DOORS, SUBMIT
from werkzeug.exceptions import HTTPException

from api.cli.main import weir

#: Command lines that take in nothing, or only what stays in this folder, without a stack to give it away.
NO_DOORS = {
    "up",
    "down",
    "status",
    "doctor",
    "demo",
    "migrate",
    "serve",
    "health",
    "commands list",
    "commands new",
    "steps list",
}

#: Command lines that put a word or two into the request of one route and take in nothing else. The route is a door; a
#: process for each of them would plant the same secrets again.
BEHIND_ROUTES = {
    *("alerts list", "alerts show", "alerts silences", "alerts unsilence", "alerts test"),
    *("alerts rules list", "alerts rules show", "alerts rules disable", "alerts rules enable", "alerts rules remove"),
    "notifications list",
}


def test_every_route_of_the_api_is_a_door(api: Api) -> None:
    routes = api.app.url_map.bind("localhost")
    opened = set()
    for method, path in [(door.method, door.path) for door in DOORS] + [("POST", SUBMIT)]:
        try:
            rule, _ = routes.match(re.sub("<<.*?>>", "x", path.partition("?")[0]), method, return_rule=True)
        except HTTPException:
            continue  # what no route matches is a door as well, but none of these
        opened.add((str(rule), method))
    known = {
        (str(rule), method)
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert known - opened == set()


def commands(command: click.Command, *names: str) -> Iterator[str]:
    """Every command line there is, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(names)
        return
    with click.Context(command) as context:
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *names, name)


def test_every_command_line_is_a_door() -> None:
    typed = {" ".join(line.arguments) for line in COMMAND_LINES}

    unopened = {name for name in commands(weir) if not any(line.startswith(f"{name} ") for line in typed)}

    assert unopened == NO_DOORS | BEHIND_ROUTES
