"""`weir health`: what one process says of itself, for a supervisor that wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.main import EXPECTED
from api.cli.output import item_format, print_json
from api.cli.services import SERVICES, health_folder
from api.cli.terminal import clean
from api.settings import load_settings
from workers.health import PATIENCE, Answer, Checks, HealthUnknown, ask, is_well
from workers.home import find_home
from workers.stack.status import read_status

if TYPE_CHECKING:
    from pathlib import Path

    from api.settings import ApiSettings, Settings


@click.command(short_help="Ask one process of the stack whether it can work.")
@click.argument("name", type=click.Choice(SERVICES))
@item_format
def health(name: str, form: str) -> None:
    """Ask one process, on this machine or in this container, whether it can work. Exits with 1 if not.

    It can if its loop comes round, and its servers answer with the schema of this program. That its events wait,
    because the telemetry stream takes none, is a warning and no more. The API is asked over HTTP (WEIR_API_HOST and
    WEIR_API_PORT), the others on their socket: in WEIR_HEALTH_DIR, or in the folder of what `weir up` started. One that
    does not answer within a few seconds stands still. The sink tells besides what it has stored and left out, and how
    much waits.
    """
    settings = load_settings()
    if name == "api":
        said: Answer = _ask_api(settings.api)
    elif (folder := _folder(settings)) is None:
        raise click.UsageError(
            "nothing is up here, and WEIR_HEALTH_DIR names no folder: set it for this command, and for `weir serve`"
            " before it."
        )
    else:
        said = ask(folder, name)
    checks = {look: state for look, state in said.items() if isinstance(state, str)}
    figures = {what: number for what, number in said.items() if not isinstance(number, str)}
    is_healthy = is_well(checks)
    if form == "json":
        print_json({"status": "ok" if is_healthy else "failing", "checks": checks, "figures": figures})
    else:
        for look, state in checks.items():
            click.echo(f"{look:<9} {clean(state)}")
        for what, number in figures.items():
            click.echo(f"{what:<15} {number:>12,}")
    if not is_healthy:
        raise click.exceptions.Exit(EXPECTED)


def _folder(settings: Settings) -> Path | None:
    """Of the sockets: the one that is given, else that of the running stack, if it has one."""
    given = settings.servers.health_dir
    is_up = given is None and read_status(find_home(settings.servers).run) is not None
    return health_folder(settings) if is_up else given


def _ask_api(settings: ApiSettings) -> Checks:
    """What `GET /readyz` says of the API that these settings describe."""
    import json
    from http.client import HTTPConnection, HTTPException

    from api.cli.listener import here, netloc

    host = here(settings.host)
    connection = HTTPConnection(host, settings.port, timeout=PATIENCE.total_seconds())
    try:
        connection.request("GET", "/readyz", headers={"Host": netloc(settings.allowed_hosts[0], settings.port)})
        checks: Checks = json.loads(connection.getresponse().read())["checks"]
    except ConnectionRefusedError as error:
        raise HealthUnknown(
            f"no api answers at {netloc(host, settings.port)}", hint="It has not started, or has ended.", process="api"
        ) from error
    except (OSError, HTTPException, ValueError, LookupError) as error:
        raise HealthUnknown(
            f"the api at {netloc(host, settings.port)} did not say whether it is ready",
            hint="It stands still, or something else listens there.",
            process="api",
        ) from error
    finally:
        connection.close()
    return checks
