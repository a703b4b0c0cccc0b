"""`weir commands pause` and `resume`: holding a command up for a while."""

from __future__ import annotations

import click

from api.cli.completion import slugs
from api.cli.output import Item, item_format, print_json
from api.cli.queues import pause_body, pause_options, pause_words
from api.cli.target import open_client
from api.cli.terminal import Terminal, clean
from api.client import segment


@click.command("pause")
@click.argument("slug", shell_complete=slugs)
@pause_options
@item_format
def pause_command(slug: str, form: str, **words: str | None) -> None:
    """Begin no execution of SLUG until it is resumed; those that run go on, and submissions are accepted."""
    with open_client() as client:
        _show(client.post(f"/api/commands/{segment(slug)}/pause", pause_body(words)).body, form)


@click.command("resume")
@click.argument("slug", shell_complete=slugs)
@item_format
def resume_command(slug: str, form: str) -> None:
    """Begin executions of SLUG again."""
    with open_client() as client:
        _show(client.post(f"/api/commands/{segment(slug)}/resume", {}).body, form)


def _show(answer: Item, form: str) -> None:
    if form == "json":
        print_json(answer)
        return
    pause = answer["paused"]
    Terminal.of_stdout().say(f"{clean(answer['command'])} {pause_words(pause) or 'active'}", "running" if pause else "")
