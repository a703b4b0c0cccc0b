"""`weir doctor`: everything that could keep Weir from working on this machine, whether it runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.checkup import show_findings, tone_of
from api.cli.main import EXPECTED
from api.cli.output import item_format, print_json
from api.cli.stack import home_option
from api.cli.terminal import Terminal

if TYPE_CHECKING:
    from psycopg import Connection

    from api.settings import Settings
    from workers.checkup.finding import Finding
    from workers.home import Home
    from workers.stack.status import StackStatus


@click.command(short_help="Look for whatever could keep Weir from working here.")
@item_format
@home_option
def doctor(form: str, folder: Path | None) -> None:
    """Look for whatever could keep Weir from working here, and say what to do about it. Exits with 1 if it is critical.

    This machine: Python, packages, settings, ports, permissions of the home and of sockets, open files, locale, disk.
    And everything that `weir telemetry health` looks at, from here, as far as the servers answer. Works when nothing
    runs; changes nothing.
    """
    from telemetry.clock import SystemClock
    from workers.checkup.finding import worst
    from workers.home import find_home
    from workers.stack.status import read_status

    settings, findings = _settings(folder)
    home = find_home(settings.servers)
    stack = read_status(home.run)
    findings += (replace(each, fix=_further(each.fix)) for each in _everything(settings, home, stack))
    overall = worst(findings)
    if form == "json":
        shown = [asdict(finding) for finding in findings]
        print_json({"overall_health": overall, "looked_at": SystemClock().now().isoformat(), "findings": shown})
    else:
        terminal = Terminal.of_stdout()
        terminal.say(f"overall: {overall}", tone_of(overall))
        terminal.say()
        show_findings([asdict(finding) for finding in findings], terminal)
    if overall == "critical":
        raise click.exceptions.Exit(EXPECTED)


def _further(fix: str | None) -> str | None:
    """What to do next; who reads this has asked the doctor already."""
    return None if fix == "weir doctor" else fix


def _settings(folder: Path | None) -> tuple[Settings, list[Finding]]:
    """The settings, or their defaults if something is wrong with them, and what that is."""
    from api.settings import Settings, load_settings
    from telemetry.errors import SettingsInvalid
    from workers.checkup.finding import Finding

    try:
        settings = load_settings()
        found = Finding("settings", "machine", "healthy", "all settings are understood")
    except SettingsInvalid as error:
        settings = Settings()
        detail = f"{len(error.faults)} are wrong: {'; '.join(error.faults)}"
        found = Finding("settings", "machine", "critical", detail, fix="env | grep WEIR_; cat weir.toml")
    if folder is not None:
        settings = replace(settings, servers=replace(settings.servers, home=folder))
    return settings, [found]


def _everything(settings: Settings, home: Home, stack: StackStatus | None) -> Iterator[Finding]:
    from telemetry.clock import SystemClock
    from workers.checkup.finding import Finding, Surroundings
    from workers.checkup.installation import look_at_installation, look_at_versions
    from workers.checkup.look import CHECKS, look_at_all

    urls = stack.urls if stack is not None else {}
    servers = replace(
        settings.servers,
        home=home.root,
        database_url=settings.servers.database_url or urls.get("database"),
        redis_url=settings.servers.redis_url or urls.get("redis"),
    )
    telemetry = replace(settings.telemetry, spool_dir=settings.telemetry.spool_dir or home.spool)
    workers = replace(settings.workers, dsl=replace(settings.dsl, telemetry=telemetry))
    alone = Surroundings(None, servers, workers, SystemClock())
    yield from look_at_installation(home, alone)
    yield _port(settings, stack)
    yield _stack(stack)
    if servers.database_url is None or servers.redis_url is None:
        yield from look_at_all(alone, [check for check in CHECKS if check.name in {"disk", "spool"}])
        yield Finding("servers", "machine", "unknown", "no servers run that could be asked", fix="weir up --detach")
        return
    yield from look_at_versions(servers.database_url, servers.redis_url)
    with ExitStack() as held:
        yield from look_at_all(replace(alone, connection=_connection(servers.database_url, held)))


def _connection(url: str, held: ExitStack) -> Connection[Any] | None:
    from telemetry.connections import connect
    from telemetry.errors import StoreUnavailable
    from telemetry.store import STATEMENT_TIMEOUT

    try:
        opened = connect(url, name="weir doctor", autocommit=True, statement_timeout=STATEMENT_TIMEOUT)
    except StoreUnavailable:
        return None
    return held.enter_context(opened)


def _port(settings: Settings, stack: StackStatus | None) -> Finding:
    """Whether the API can have its port, or has it."""
    from api.cli.listener import netloc, open_listener
    from telemetry.errors import WeirError
    from workers.checkup.finding import Finding

    if stack is not None and "api" in stack.urls:
        return Finding("port", "machine", "healthy", f"the API listens at {stack.urls['api']}")
    host, port = settings.api.host, settings.api.port
    try:
        open_listener(host, port).close()
    except WeirError as error:
        return Finding("port", "machine", "warning", error.detail, port, fix="weir up --port 0")
    return Finding("port", "machine", "healthy", f"{netloc(host, port)} is free", port)


def _stack(stack: StackStatus | None) -> Finding:
    """Whether what should run does."""
    from workers.checkup.finding import Finding

    if stack is None:
        return Finding(
            "stack", "machine", "unknown", "nothing that `weir up` started runs here", fix="weir up --detach"
        )
    down = [process.name for process in stack.processes if process.state != "running"]
    if down or not stack.processes:
        detail = f"not running: {', '.join(down)}" if down else "it has only just begun"
        return Finding("stack", "machine", "warning", detail, fix="weir status")
    return Finding("stack", "machine", "healthy", f"{len(stack.processes)} processes run")
