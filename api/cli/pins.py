"""`weir telemetry pin`: have a trace kept, whatever its age."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from api.cli.stack import home_option, load_home, running_urls


@click.command(short_help="Keep a trace, whatever its age.")
@click.argument("trace_id", metavar="ID", type=click.UUID)
@click.option("--remove", is_flag=True, help="Treat it as all others again.")
@home_option
def pin(trace_id: UUID, remove: bool, folder: Path | None) -> None:
    """Keep the trace of an execution id or a correlation id, whatever its age, until the pin is removed.

    Only its events: executions with their inputs and results go when they are old. Opens the database of
    WEIR_DATABASE_URL, or of the running stack, itself.
    """
    from migrations.runner import require_current
    from telemetry.connections import connect
    from telemetry.query import trace
    from telemetry.retention import pin as keep
    from telemetry.retention import unpin
    from telemetry.store import STATEMENT_TIMEOUT

    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    with connect(url, name="weir pin", autocommit=True, statement_timeout=STATEMENT_TIMEOUT) as connection:
        require_current(connection)
        correlation_id = trace(connection, trace_id).correlation_id
        if remove:
            was_pinned = unpin(connection, correlation_id)
            click.echo(f"trace {correlation_id}: {'no longer pinned' if was_pinned else 'was not pinned'}")
        else:
            keep(connection, correlation_id)
            click.echo(f"trace {correlation_id}: pinned")
