"""`weir queues`: what waits for workers, and what they could not do."""

from __future__ import annotations

import click

from api.cli.dead_letters import dead


@click.group(short_help="Deal with what failed for good: list, run again, drop.")
def queues() -> None:
    """Look at what workers could not do, and deal with it."""


queues.add_command(dead)
