"""`weir up`, `down`, `status`, `migrate`, `serve`: the stack on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from api.cli.interrupt import tidy
from api.cli.main import EXPECTED, INTERRUPTED
from api.cli.output import Column, View, item_format, list_format, local_time, print_json, show_page, table
from api.cli.services import SERVICES
from api.cli.terminal import Terminal
from api.settings import Settings, load_settings
from workers.home import Home, find_home
from workers.stack.errors import StackStopped
from workers.stack.status import StackStatus, read_status

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds that `weir down` adds to what running work may take: everything else of a stop.
_REST_OF_STOP_S = 60

_TONES = {"running": "succeeded", "starting": "running", "backing_off": "failed", "failed": "failed"}


class _Folder(click.Path):
    """A folder that need not exist; not the empty text, which `Path` takes for the current folder."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        if value == "":
            self.fail("expected a folder, and nothing was given.", param, ctx)
        return super().convert(value, param, ctx)


def home_option(command: F) -> F:
    """`--home DIR`."""
    return click.option(
        "--home",
        "folder",
        type=_Folder(),
        metavar="DIR",
        help="Folder of all data, instead of WEIR_HOME.",
    )(command)


def load_home(folder: Path | None) -> tuple[Settings, Home]:
    """The settings, and the home they name, unless it is this folder."""
    settings = load_settings()
    if folder is not None:
        settings = replace(settings, servers=replace(settings.servers, home=folder))
    return settings, find_home(settings.servers)


@click.command(short_help="Start everything on this machine.")
@click.option("--detach", is_flag=True, help="Return when everything runs, and leave it running.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the API; 0 picks a free one.")
@home_option
def up(detach: bool, port: int | None, folder: Path | None) -> None:
    """Start Postgres, Valkey and all of Weir's processes, and start again what ends.

    Postgres and Valkey are those that come with Weir, unless WEIR_DATABASE_URL and WEIR_REDIS_URL name others. Runs
    until Ctrl-C, or until `weir down`.
    """
    settings, home = load_home(folder)
    if port is not None:
        settings = replace(settings, api=replace(settings.api, port=port))
    from api.cli.local_stack import run_detached, run_in_foreground
    from workers.stack.control import stop_stack
    from workers.stack.detach import run_in_background

    if not detach:
        if run_in_foreground(settings, home):
            raise click.exceptions.Exit(INTERRUPTED)
        return
    try:
        with tidy():
            click.echo(run_in_background(partial(run_detached, settings, home)), nl=False)
    except KeyboardInterrupt:
        stop_stack(home.run, 0)  # it may have been ready just then
        raise


@click.command(short_help="Stop what `weir up` started.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long running work may go on before it is interrupted; by default WEIR_WORKER_SHUTDOWN_TIMEOUT.",
)
@home_option
def down(timeout_s: float | None, folder: Path | None) -> None:
    """Stop everything that `weir up` started, and wait until it is gone."""
    from workers.stack.control import stop_stack

    settings, home = load_home(folder)
    if timeout_s is None:
        timeout_s = settings.workers.shutdown_timeout.total_seconds() + _REST_OF_STOP_S
    if stop_stack(home.run, timeout_s):
        click.echo("Weir is down.")
    else:
        click.echo(f"Nothing was running in {home.root}.")


@click.command(short_help="Show what runs, since when, and where.")
@item_format
@home_option
def status(form: str, folder: Path | None) -> None:
    """Show what runs, since when, and where. Exits with 1 when something that should run does not."""
    settings, home = load_home(folder)
    found = read_status(home.run)
    if form == "json":
        commands_dir = str(settings.servers.commands_dir.resolve())
        print_json((found or StackStatus((), {}, commands_dir, str(home.root), pid=None)).public())
    elif found is None:
        raise _nothing_is_up(home)
    else:
        _show(found.public(), Terminal.of_stdout())
    if found is None or not found.is_healthy:
        raise click.exceptions.Exit(EXPECTED)


@click.command(short_help="Bring the database's schema up to date.")
@click.option("--status", "only_status", is_flag=True, help="Show what was applied, and change nothing.")
@list_format
@home_option
def migrate(only_status: bool, form: str, folder: Path | None) -> None:
    """Apply what is missing of the schema to the database of WEIR_DATABASE_URL, or of the running stack.

    `weir up` does this by itself. With --status, exits with 1 when something is missing or should not be there.
    """
    from migrations import runner

    settings, home = load_home(folder)
    url = settings.servers.database_url or running_urls(home)["database"]
    if only_status:
        standing = runner.status(url)
        items = [
            {"name": item.name, "state": item.state, "applied_at": item.applied_at and item.applied_at.isoformat()}
            for item in standing
        ]
        show_page({"items": items, "next_cursor": None}, _migrations_view(), form, Terminal.of_stdout())
        if any(item.state != "applied" for item in standing):
            raise click.exceptions.Exit(EXPECTED)
        return
    applied = runner.migrate(url)
    if form == "table":
        click.echo("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")
    else:
        items = [{"name": name, "state": "applied"} for name in applied]
        show_page({"items": items, "next_cursor": None}, _migrations_view(), form, Terminal.of_stdout())


@click.command(short_help="Run one process of the stack, for a supervisor of your own.")
@click.argument("name", type=click.Choice(SERVICES))
@home_option
def serve(name: str, folder: Path | None) -> None:
    """Run one process of the stack in the foreground until SIGTERM: in a container, or beside a running stack.

    The servers are those of WEIR_DATABASE_URL and WEIR_REDIS_URL, else those of the running stack. The API listens on
    WEIR_API_HOST and WEIR_API_PORT.
    """
    import structlog

    from api.cli.listener import open_listener, url_of
    from api.cli.services import complete, run_service
    from telemetry.connections import require_redis
    from telemetry.logs import configure_logs
    from workers.embedded import ServerUrls

    settings, home = load_home(folder)
    servers = settings.servers
    if servers.database_url is None or servers.redis_url is None:
        running = running_urls(home)
        urls = ServerUrls(servers.database_url or running["database"], servers.redis_url or running["redis"])
    else:
        urls = ServerUrls(servers.database_url, servers.redis_url)
    settings = complete(settings, home, urls)
    configure_logs(servers.log_format, servers.log_level, name)
    require_redis(urls.redis_url)
    log = structlog.get_logger(__name__)
    if name != "api":
        log.info("service_started", pid=os.getpid())
        run_service(name, settings)
        log.info("service_stopped")
        return
    with closing(open_listener(settings.api.host, settings.api.port)) as listener:
        log.info("service_started", pid=os.getpid(), url=url_of(listener))
        run_service(name, settings, listener)


def running_urls(home: Home) -> dict[str, str]:
    """Addresses of the servers of the stack that runs in a home.

    Raises:
        StackStopped: None does.
    """
    found = read_status(home.run)
    if found is None or "database" not in found.urls:
        raise _nothing_is_up(home)
    return dict(found.urls)


def _nothing_is_up(home: Home) -> StackStopped:
    return StackStopped(
        f"nothing is up in {home.root}",
        hint="`weir up --detach` starts everything; WEIR_HOME names another folder, WEIR_DATABASE_URL and "
        "WEIR_REDIS_URL other servers.",
        home=str(home.root),
    )


def _show(stack: dict[str, Any], terminal: Terminal) -> None:
    columns = (
        Column("PROCESS", lambda item: item["name"]),
        Column("STATE", lambda item: item["state"].replace("_", " "), tone=lambda item: _TONES.get(item["state"], "")),
        Column("PID", lambda item: str(item["pid"] or ""), right=True),
        Column("SINCE", lambda item: local_time(item["since"])),
        Column("RESTARTS", lambda item: str(item["restarts"]), right=True),
    )
    for line in table(stack["processes"], columns, terminal):
        terminal.say(line)
    terminal.say()
    places = {**stack["urls"], "home": stack["home"], "commands": stack["commands_dir"]}
    width = max(map(len, places))
    for name, place in places.items():
        terminal.say(f"{name.ljust(width)}  {place}")


def _migrations_view() -> View:
    return View(
        columns=(
            Column("MIGRATION", lambda item: item["name"]),
            Column(
                "STATE", lambda item: item["state"], tone=lambda item: "" if item["state"] == "applied" else "failed"
            ),
            Column("APPLIED", lambda item: local_time(item.get("applied_at"))),
        ),
        fields=("name", "state", "applied_at"),
        empty="There are no migrations.",
    )
