"""`weir completion`: commands, options and names that a shell completes; never slow, and never an error in a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import click

#: How long somebody who pressed a key waits for names that the API knows.
PATIENCE_S: Final = 0.5
#: What Click looks for in the environment, by the name of the program.
VARIABLE: Final = "_WEIR_COMPLETE"

#: Those that Click knows.
_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print what makes a shell complete `weir`.")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete `weir`: commands, options, and names of commands, components and event types.

    Once: `eval "$(weir completion bash)"` in ~/.bashrc; `eval "$(weir completion zsh)"` in ~/.zshrc, below compinit;
    `weir completion fish > ~/.config/fish/completions/weir.fish`.

    Names of commands are asked of the API, half a second at most; without one there are none.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from api.cli.main import weir

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - Click has all that there are to choose from
    # Not the method of the class: for bash it looks for one on this machine, and complains.
    click.echo(ShellComplete.source(kind(weir, {}, "weir", VARIABLE)))


def slugs(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    """Commands that the API knows; none when it does not answer at once."""
    # Whatever is wrong here, a prompt is not where to say it.
    with suppress(Exception):
        from api.cli.target import base_url
        from api.client import Client
        from api.settings import load_settings

        settings = load_settings()
        with Client(base_url(settings), api_key=settings.client.api_key, timeout_s=PATIENCE_S) as client:
            items = client.get("/api/commands")["items"]
        return _fitting([item["slug"] for item in items], incomplete)
    return []


def components(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    """Components of events."""
    from telemetry.components import COMPONENTS

    return _fitting(COMPONENTS, incomplete)


def event_types(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    """Full names of types of events, and their first words."""
    from telemetry.events import CATALOGUE, event_type

    names = {event_type(each) for each in CATALOGUE}
    first = {name.rpartition(".")[0] for name in names}
    return _fitting(sorted(names | first), incomplete)


def _fitting(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
